"""Both ends of a connection: a worker's or an engine's channel, and the dispatcher's peer."""

import asyncio
import socket
import threading
from collections.abc import Callable
from unittest.mock import Mock

import pytest

from imageserver.dispatch.streams import Peer
from imageserver.protocol.channel import Channel
from imageserver.protocol.framing import Frame


def receive_on_a_channel(*pieces: bytes) -> Frame:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)

    def send() -> None:
        with theirs:
            for piece in pieces:
                theirs.sendall(piece)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        return Channel(ours).receive()
    finally:
        sender.join()
        ours.close()


def receive_in_the_dispatcher(*pieces: bytes) -> Frame:
    async def receive() -> Frame:
        reader = asyncio.StreamReader()
        for piece in pieces:
            asyncio.get_running_loop().call_soon(reader.feed_data, piece)
        asyncio.get_running_loop().call_soon(reader.feed_eof)
        return await Peer(reader, Mock()).receive()

    return asyncio.run(receive())


@pytest.fixture(params=[receive_on_a_channel, receive_in_the_dispatcher])
def receive(request: pytest.FixtureRequest) -> Callable[..., Frame]:
    """Return a function that receives one frame from bytes that arrive in pieces and then end."""
    return request.param  # type: ignore[no-any-return]
