"""Both ends put frames together from whatever arrives, and end with the same error where nothing can come of it."""

import socket
import threading

import msgspec
import pytest

from imageserver.protocol.channel import Channel
from imageserver.protocol.framing import LENGTHS, pack
from imageserver.protocol.messages import Cancel, Preview, Run
from tests.support.factories import generation

PIXEL = Preview(job=1, index=0, step=1, total=2, width=1, height=1)


def test_pixels_travel_beside_their_message(receive):
    pixels = bytes(range(256)) * 40_000
    message = Preview(job=1, index=0, step=1, total=2, width=1, height=len(pixels) // 3 + 1)
    assert receive(pack(message, len(pixels)), pixels) == (message, pixels)


def test_frames_that_arrive_in_crumbs_are_put_together(receive):
    frame = pack(PIXEL, 3) + b"abc"
    assert receive(*(frame[position : position + 1] for position in range(len(frame)))) == (PIXEL, b"abc")


@pytest.mark.parametrize("part", [b"", b"\x00", LENGTHS.pack(50, 0), pack(PIXEL, 3) + b"ab"])
def test_peer_that_hangs_up_within_a_frame_is_noticed(receive, part):
    with pytest.raises(EOFError):
        receive(part)


@pytest.mark.parametrize("header", [b"", b"\xc1", b"{}", b"\x80", msgspec.msgpack.encode({"type": "Nothing"})])
def test_rubbish_is_not_a_message(receive, header):
    with pytest.raises(EOFError, match="not one of our messages"):
        receive(LENGTHS.pack(len(header), 0) + header)


def test_header_of_gigabytes_is_refused_before_it_is_read(receive):
    with pytest.raises(EOFError, match="not one of our messages"):
        receive(LENGTHS.pack(2**31, 0))


@pytest.mark.parametrize("message", [PIXEL, Cancel(job=1), Run(job=1, generation=generation())])
def test_more_raw_bytes_than_a_message_may_have_are_refused_before_they_are_read(receive, message):
    with pytest.raises(EOFError, match=f"A {type(message).__name__} does not have 4294967295 raw bytes"):
        receive(pack(message, 2**32 - 1))


def test_close_wakes_whoever_receives():
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    channel = Channel(ours)
    threading.Timer(0.05, channel.close).start()
    assert list(channel) == []
    theirs.close()


def test_a_channel_sends_frames_one_after_the_other():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for number in (1, 2):
            Channel(theirs).send(PIXEL, bytes(number))
        theirs.shutdown(socket.SHUT_RDWR)
        assert list(Channel(ours)) == [(PIXEL, b"\0"), (PIXEL, b"\0\0")]
