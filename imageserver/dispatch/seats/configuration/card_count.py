"""Finds the cards of this machine, without importing PyTorch here."""

import asyncio
import logging
import os
import sys

from imageserver.protocol import child_process

logger = logging.getLogger(__name__)

INVENTORY = "imageserver.engine.devices.inventory"
# PyTorch is imported from a slow disk in this time; a driver that hangs never ends.
INVENTORY_SECONDS = 120.0


async def find_cards(kind: str) -> tuple[str, ...]:
    """Return the names of all cards of a kind, or of the first kind there is for `auto`; empty where none is found."""
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", INVENTORY, kind,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=os.environ,
        )  # fmt: skip
    except OSError as error:  # memory is short
        logger.error("The devices cannot be counted: %s", error)
        return ()
    try:
        output, complaint = await asyncio.wait_for(process.communicate(), INVENTORY_SECONDS)
    except TimeoutError:
        child_process.kill(process)
        await process.wait()
        logger.error("PyTorch found no device within %g s.", INVENTORY_SECONDS)
        return ()
    if process.returncode != 0:
        logger.error("The devices cannot be counted: %s", (complaint.decode().strip().splitlines() or ["?"])[-1])
        return ()
    return tuple(output.decode().split())
