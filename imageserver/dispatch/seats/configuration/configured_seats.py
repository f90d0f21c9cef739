"""The seats that the settings ask for: DEVICE is one, DEVICES a list, NUM_WORKER_PROCESSES a number of cards."""

import importlib.util
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from imageserver.dispatch.seats.configuration.group_size import useful_groups
from imageserver.dispatch.seats.configuration.seat_config import SeatConfig
from imageserver.settings import Settings
from imageserver.settings.seat_devices import AUTO, NONE, parse_seats

DEFAULT_MODULE = Settings.model_fields["engine_module"].default

logger = logging.getLogger(__name__)


async def configured_seats(
    settings: Settings,
    find_cards: Callable[[str], Awaitable[tuple[str, ...]]],
    splits_calls: Callable[[Settings], Awaitable[bool]],
) -> list[SeatConfig]:
    """Return the configuration of every seat.

    `find_cards` returns the cards of a kind, `splits_calls` whether several cards can compute one call of the model.
    Both take a while.
    """
    wanted = settings.num_worker_processes
    if settings.devices == NONE or (settings.cluster and not has_engine(settings)):
        return []
    if settings.devices not in ("", AUTO):
        names = ["+".join(devices) for devices in parse_seats(settings.devices)]
    elif settings.devices == AUTO or wanted > 1:
        # Where none can be found, the engine says why.
        names = list(await find_cards(settings.device)) or [settings.device]
    else:
        names = [settings.device]
    if wanted > len(names):
        logger.warning("NUM_WORKER_PROCESSES=%d is more than there are: %s.", wanted, ", ".join(names))
    devices = await useful_groups(names[: wanted or None], settings, splits_calls)
    if wanted and len(devices) > wanted:
        unused = " and ".join(devices[wanted:])
        logger.warning("NUM_WORKER_PROCESSES=%d leaves %s without an engine.", wanted, unused)
    return seat_configs(devices[: wanted or None], settings.engine_module)


def has_engine(settings: Settings) -> bool:
    """Return whether an engine can run here: the front of a cluster needs no PyTorch."""
    return settings.engine_module != DEFAULT_MODULE or importlib.util.find_spec("torch") is not None


def seat_configs(devices: Iterable[str], engine_module: str) -> list[SeatConfig]:
    """Return a seat for each device; where one is named several times, its seats are numbered from 1."""
    devices = list(devices)
    counts, numbers = Counter(devices), Counter[str]()
    configs = []
    for device in devices:
        numbers[device] += 1
        name = f"{device}#{numbers[device]}" if counts[device] > 1 else device
        configs.append(SeatConfig(name, device, engine_module))
    return configs
