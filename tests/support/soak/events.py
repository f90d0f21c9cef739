"""What an operator does while clients generate: reloads workers, loads and unloads models and LoRAs."""

import itertools
import signal
from collections.abc import Callable

from tests.support.server import Server
from tests.support.soak.clients import SoakClients

Event = tuple[int, Callable[[], None]]


def events_of(server: Server, clients: SoakClients, generations: int, *, reloads: int, model: str) -> list[Event]:
    """Return what happens after how many generations: a change after each hundredth, a reload after the first tenths.

    So the last workers live long enough to tell whether they grow.
    """
    changes = itertools.cycle(
        [("models/unload", {"model": model}), ("loras/load", {"name": "night"}), ("loras/unload", {"name": "night"})]
    )

    def change() -> None:
        path, body = next(changes)
        clients.ask("POST", f"/v1/{path}", json=body)

    def reload() -> None:
        server.process.send_signal(signal.SIGHUP)

    changed = [(generations * hundredth // 100, change) for hundredth in range(1, 100)]
    return changed + [(generations * tenth // 10, reload) for tenth in range(1, 1 + reloads)]
