"""What the views are given: every long-lived object of one HTTP worker, wired once in `create_app`."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import gevent

from imageserver.api.auth.api_keys import Keyring
from imageserver.api.wsgi.request_ids import RequestIds
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.dispatch.client.client import DispatchClient
from imageserver.errors import Draining, Loading
from imageserver.generation import ModelInfo
from imageserver.lora_folder import LoraFolder
from imageserver.outputs.cache import OutputCache
from imageserver.outputs.folder import OutputFolder
from imageserver.outputs.task_store import TaskStore
from imageserver.outputs.webhook_store import WebhookStore
from imageserver.protocol.messages import Snapshot
from imageserver.registry import Registry
from imageserver.settings import Settings

if TYPE_CHECKING:
    # They bring requests along, which only those who use them pay for.
    from imageserver.api.auth.huggingface_tokens import HuggingFaceTokens
    from imageserver.api.outbound.webhooks import WebhookSender

WARM_UP_SECONDS = 1.0
# Images grow old also where no new ones are saved.
SWEEP_INTERVAL_SECONDS = 60.0
# Our own 503 must be out before gunicorn cuts the connections that are left.
DRAIN_MARGIN_SECONDS = 1.5


@dataclass
class Services:
    """The objects of one worker."""

    settings: Settings
    client: DispatchClient
    outputs: OutputFolder
    cache: OutputCache
    thread_pool: ThreadPool
    request_ids: RequestIds
    tasks: TaskStore
    webhook_store: WebhookStore
    webhooks: "WebhookSender | None"
    keyring: Keyring
    huggingface_tokens: "HuggingFaceTokens | None"
    loras: LoraFolder
    draining: bool = False

    def start(self) -> None:
        """Connect to the dispatcher, import what finishing needs once the port answers, and look after old images."""
        self.client.start()
        gevent.spawn_later(WARM_UP_SECONDS, self.thread_pool.run, _import_imaging)
        gevent.spawn(self._sweep_for_ever)

    def _sweep_for_ever(self) -> None:
        while True:
            gevent.sleep(SWEEP_INTERVAL_SECONDS)
            self.thread_pool.run(self.outputs.sweep_if_due)

    @property
    def snapshot(self) -> Snapshot | None:
        """The dispatcher's last word, or None while it cannot be reached."""
        return self.client.snapshot

    @property
    def facts(self) -> ModelInfo | None:
        """What is known of the model that answers requests which name none, or None while it is being loaded."""
        return self.snapshot.info if self.snapshot else None

    def info_of(self, name: str) -> ModelInfo | None:
        """Return what is known of a model by its name, also while its engine restarts; None before its first load.

        "" is the one that answers requests which name none.
        """
        if self.snapshot is None:
            return None
        wanted = name or self.snapshot.default
        return next((facts for facts in self.snapshot.models if facts.name == wanted), None)

    @cached_property
    def registry(self) -> Registry:
        """The models that have names."""
        return self.settings.registry()

    def loaded_facts(self) -> ModelInfo:
        """Return what is known of the model that answers requests which name none; raises Loading before that."""
        facts = self.facts
        if facts is None:
            reason = self.snapshot.reason if self.snapshot else "the dispatcher is being started."
            raise Loading(f"The model is not loaded yet: {reason}", retry_after=2)
        return facts

    @property
    def status(self) -> str:
        """`loading`, `healthy`, `degraded` or `draining`."""
        if self.draining:
            return "draining"
        return self.snapshot.state if self.snapshot else "loading"

    def drain(self) -> None:
        """Send monitors away; what still runs when the grace is over is answered with our own 503.

        Work that comes before the listener is closed is still taken: at a reload its client could not know better.
        """
        if not self.draining:
            self.draining = True
            patience = max(0.5, self.settings.graceful_timeout - DRAIN_MARGIN_SECONDS)
            # Called from a signal handler, where a thread's start would block the loop.
            gevent.spawn_later(patience, self.client.fail_all, Draining("The server is stopping.", retry_after=5))


def _import_imaging() -> None:
    """Import numpy and Pillow, which takes 0.2 s, before the first image needs them."""
    import imageserver.imaging.finishing  # noqa: F401
