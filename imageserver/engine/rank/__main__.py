"""The process of a rank, with its configuration on standard input; it ends with rank 0."""

import os
import socket
import threading
import time
from typing import TYPE_CHECKING

from imageserver.engine.card_group.messages import RankFailed, RankSign, decode_to_rank
from imageserver.engine.card_group.rank_process import RankConfig, read_rank_config
from imageserver.engine.torch_process import die_with_parent, prepare_environment
from imageserver.protocol.channel import Channel
from imageserver.settings import Settings
from imageserver.telemetry.logs import configure_logging

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from imageserver.engine.rank.denoisers import Denoisers

    OpenDenoisers = Callable[[torch.device, Settings], Denoisers]


def open_denoisers(device: "torch.device", settings: Settings) -> "Denoisers":
    from imageserver.engine.rank.denoisers import Denoisers

    return Denoisers(device, settings)


def main(open_denoisers: "OpenDenoisers" = open_denoisers) -> None:
    """Serve until rank 0 is gone, with the denoisers that are opened after the imports."""
    die_with_parent()
    prepare_environment()
    config, settings = read_rank_config()
    configure_logging(settings)
    channel = Channel(socket.socket(fileno=config.connection), decode_to_rank)
    threading.Thread(target=_give_signs, args=(channel, config.sign_seconds), name="signs", daemon=True).start()
    _serve(channel, config, settings, open_denoisers)


def _serve(channel: Channel, config: RankConfig, settings: Settings, open_denoisers: "OpenDenoisers") -> None:
    # Imported here, after the first sign: torch and diffusers take seconds.
    import torch

    from imageserver.engine.devices import devices
    from imageserver.engine.rank.rank_server import RankServer

    if config.threads:
        torch.set_num_threads(config.threads)
    torch.set_grad_enabled(False)
    try:
        device = devices.choose(config.device)
    except devices.DeviceUnavailable as error:
        channel.receive()
        channel.send(RankFailed(sentence=str(error)))
        return
    devices.make_current(device)
    RankServer(channel, device, config.store, open_denoisers(device, settings)).serve()
    os._exit(0)  # rank 0 is gone; threads of libraries may still wait for it


def _give_signs(channel: Channel, seconds: float) -> None:
    """Send signs of life, and end the process with rank 0, also while a forward waits for it."""
    try:
        while True:
            channel.send(RankSign())
            time.sleep(seconds)
    except OSError:
        os._exit(0)


if __name__ == "__main__":
    main()
