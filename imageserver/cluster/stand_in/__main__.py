"""An engine process that stands for one on another machine: `python -m imageserver.cluster.stand_in`.

To the dispatcher it is an engine: the same configuration on standard input, the same socket, the same frames, and it
ends when the far engine does. Ray lives here and not in the dispatcher, because it ends a process that loses the head.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imageserver.cluster.nodes import membership
from imageserver.cluster.stand_in.dispatcher_link import DispatcherLink, connect
from imageserver.cluster.stand_in.far_log import FarLog
from imageserver.cluster.travelling_config import write_travelling_config
from imageserver.protocol.engine_config import EngineConfig, read_engine_config
from imageserver.protocol.framing import message_of, pack
from imageserver.protocol.initial_model import InitialModel
from imageserver.protocol.messages import MachineChoice, Placed, Retiring
from imageserver.settings import Settings
from imageserver.telemetry.logs import configure_logging

if TYPE_CHECKING:
    from imageserver.cluster.stand_in.far_seat import FarMachine, FarSeat

logger = logging.getLogger("imageserver.cluster")

JOIN_SECONDS = 30.0
RETRY_SECONDS = 2.0
RESTARTED_HEAD = "If its head has lost its memory in a restart, restart the other machines too."


async def stand_in(config: EngineConfig) -> None:
    """Pass frames between the dispatcher and an engine far away until one of them ends."""
    from imageserver.cluster.stand_in.far_seat import SeatLost

    try:
        link = await connect(config.address)
    except OSError:
        return  # the dispatcher is gone
    calls: asyncio.Queue[bytes] = asyncio.Queue()
    receiving = asyncio.create_task(_receive(link, calls))
    try:
        await _join(config.settings, link)
        await _serve_somewhere(link, calls, config)
    except SeatLost as lost:
        logger.warning("An engine on another machine is lost. %s", lost)
    except Exception:
        logger.exception("An engine on another machine is given up.")
    finally:
        receiving.cancel()
        await link.close()
        # Not by way of Ray's farewell, or of its thread, which may hang: Ray ends the actor when it misses its driver.
        os._exit(1)


async def _serve_somewhere(link: DispatcherLink, calls: "asyncio.Queue[bytes]", config: EngineConfig) -> None:
    """Serve with an engine on the first machine that can be used."""
    from imageserver.cluster.stand_in.machine_search import MachineSearch

    search = MachineSearch(config.settings, link)
    seat, machine = await search.find()
    await _serve(seat, machine, link, calls, config)


async def _serve(
    seat: "FarSeat", machine: "FarMachine", link: DispatcherLink, calls: "asyncio.Queue[bytes]", config: EngineConfig
) -> None:
    link.send(pack(Placed(machine=machine.label)))
    sentence = f"The engine starts on {machine.label}."
    logger.info("%s", sentence)
    link.report("starting", sentence)
    log = FarLog(config.settings.log_format, machine.label)
    await _until_one_ends(seat.keep(), _run_engine(seat, link, calls, config, log))


async def _run_engine(
    seat: "FarSeat", link: DispatcherLink, calls: "asyncio.Queue[bytes]", config: EngineConfig, log: FarLog
) -> None:
    choice = await _machine_choice(calls)
    await seat.start(write_travelling_config(config, log.machine, choice))
    await _until_one_ends(_send(seat, calls), _pass_items(seat, link, log))


async def _machine_choice(calls: "asyncio.Queue[bytes]") -> InitialModel | None:
    """Return the dispatcher's answer to Placed; nothing that it may send before is for an engine that is not there."""
    while not isinstance(message := message_of(await calls.get()), MachineChoice):
        pass
    return message.choice


async def _until_one_ends(*work: Coroutine[Any, Any, None]) -> None:
    tasks = [asyncio.create_task(each) for each in work]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _join(settings: Settings, link: DispatcherLink) -> None:
    """Join the cluster, however long that takes, and say meanwhile what is wrong."""
    address = membership.head_address(settings)
    link.report("waiting", f"The cluster at {address} is being joined.")
    while True:
        joining = asyncio.create_task(asyncio.to_thread(membership.join, settings))
        while not joining.done():
            await asyncio.wait([joining], timeout=JOIN_SECONDS)
            if not joining.done():
                link.report("waiting", f"The cluster at {address} does not answer. {RESTARTED_HEAD}")
        error = joining.exception()
        if error is None:
            return
        sentence = f"The cluster at {address} cannot be joined: {error}"
        logger.warning("%s", sentence)
        link.report("waiting", sentence)
        await asyncio.sleep(RETRY_SECONDS)


async def _receive(link: DispatcherLink, calls: "asyncio.Queue[bytes]") -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            calls.put_nowait(await link.receive())
    os._exit(0)  # the dispatcher is gone; Ray ends the far engine as soon as it misses this process


async def _send(seat: "FarSeat", calls: "asyncio.Queue[bytes]") -> None:
    while True:
        seat.send(await calls.get())


async def _pass_items(seat: "FarSeat", link: DispatcherLink, log: FarLog) -> None:
    async for item in seat.items():
        match item.kind:
            case "frame":
                link.send(item.content)
            case "log":
                log.write(item.content)
            case "drain":
                logger.info("The machine %s is about to leave.", log.machine)
                link.send(pack(Retiring()))
            case "end":
                log.write_end(item.content)
                return


def main() -> None:
    config = read_engine_config()
    configure_logging(config.settings)
    os.environ.update(membership.environment(config.settings))  # Ray reads them when it is imported
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - where Ray prints what happens to other machines
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asyncio.run(stand_in(config))


if __name__ == "__main__":
    main()
