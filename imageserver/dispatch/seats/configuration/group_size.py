"""Takes cards out of a group that could do nothing in it, and gives them engines of their own."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator

from imageserver.protocol import child_process
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

CALL_SPLITTING = "imageserver.engine.models.on_cards.call_splitting"
# Imports of diffusers from a slow disk.
ANSWER_SECONDS = 120.0
# The calls of a guided step; each can have a card.
CALLS_OF_A_STEP = 2


async def useful_groups(
    devices: Iterable[str], settings: Settings, splits_calls: Callable[[Settings], Awaitable[bool]]
) -> list[str]:
    """Return the devices of each seat, groups not larger than the model can use.

    A divided transformer uses every card. Anything else uses two, where diffusers cannot split its calls.
    """
    devices = list(devices)
    large = [device for device in devices if device.count("+") >= CALLS_OF_A_STEP]
    if not large or settings.memory == "tensor-parallel" or await splits_calls(settings):
        return devices
    logger.warning(
        "diffusers cannot split a call of %s: %d cards of %s work on one image, the others are engines of their own. "
        "MEMORY=tensor-parallel keeps them together, for a transformer that needs them all.",
        *(settings.model, CALLS_OF_A_STEP, " and ".join(large)),
    )
    return [part for device in devices for part in (_parts(device) if device in large else [device])]


async def splits_calls(settings: Settings) -> bool:
    """Return whether diffusers can split a call of the model; True where that cannot be known before it is loaded."""
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", CALL_SPLITTING, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    except OSError as error:
        logger.warning("%s: whether diffusers can split its calls is not known (%s).", settings.model, error)
        return True
    try:
        output, _ = await asyncio.wait_for(process.communicate(settings.model_dump_json().encode()), ANSWER_SECONDS)
    except TimeoutError:
        child_process.kill(process)
        await process.wait()
        return True
    return output != b"no"


def _parts(group: str) -> Iterator[str]:
    cards = group.split("+")
    yield "+".join(cards[:CALLS_OF_A_STEP])
    yield from cards[CALLS_OF_A_STEP:]
