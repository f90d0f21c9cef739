"""What crosses a process border comes out as it went in, and rubbish is recognised."""

import socket
import struct
import threading
import typing

import msgspec
import pytest

from imageserver.errors import BY_CODE, QueueFull, ServiceError
from imageserver.generation import DeviceInfo, ModelInfo, Outcome
from imageserver.protocol.framing import Channel
from imageserver.protocol.messages import LENGTHS, AnyMessage, Cancel, Failed, JobStatus, Message, failed, pack, unpack
from tests.support.factories import generation

STATUS = JobStatus(
    id=1, dialect="native", state="queued", prompt="猫", width=1, height=2, steps=3, n=4, seed=2**64 - 1,
    priority="normal", created_at=1.5,
)  # fmt: skip
VALUES = {
    "generation": generation("猫 \x00 🐈", seed=2**64 - 1),
    "outcome": Outcome(width=1, height=2, seeds=(2**64 - 1,), inference_time=0.5, queue_time=0.0, batch_size=1),
    "info": ModelInfo(
        name="a", family="b", reason="c", scheduler="h", parameters=1, size_mb=1.0, load_time=1.0, pid=1,
        device=DeviceInfo(kind="d", gpu="e", cuda_version="f", dtype="g", memory_mb=1.0, batch_caps={"512x512": 4}),
    ),
    "status": STATUS,
    "jobs": (STATUS, STATUS),
}  # fmt: skip
PLAIN = {str: "text", int: 2**40, float: 1.5, bool: True}


def sample(kind: type[Message]) -> Message:
    """Return a message of a kind, every required field filled."""
    hints = typing.get_type_hints(kind)
    values = {}
    for field in msgspec.structs.fields(kind):
        if field.required:
            wanted = hints[field.name]
            options = typing.get_args(wanted) or (wanted,)
            values[field.name] = VALUES.get(field.name, next((PLAIN[one] for one in options if one in PLAIN), None))
    return kind(**values)


@pytest.mark.parametrize("kind", typing.get_args(AnyMessage), ids=lambda kind: kind.__name__)
def test_every_message_survives_the_border(kind):
    message = sample(kind)
    frame = pack(message, 5)
    header_size, raw_size = LENGTHS.unpack(frame[: LENGTHS.size])
    assert raw_size == 5
    assert len(frame) == LENGTHS.size + header_size
    assert unpack(frame[LENGTHS.size :]) == message


def test_every_kind_of_message_may_cross():
    assert set(typing.get_args(AnyMessage)) == set(Message.__subclasses__())


@pytest.mark.parametrize("header", [b"", b"\xc1", b"{}", b"\x80", msgspec.msgpack.encode({"type": "Nothing"})])
def test_rubbish_is_no_message(header):
    with pytest.raises(ValueError):
        unpack(header)


@pytest.mark.parametrize("kind", BY_CODE.values(), ids=BY_CODE)
def test_every_error_comes_out_as_it_went_in(kind):
    error = failed(7, kind("A sentence.", param="seed", retry_after=1.5)).as_error()
    assert type(error) is kind
    assert (error.sentence, error.param, error.retry_after) == ("A sentence.", "seed", 1.5)


def test_unknown_code_is_an_internal_error():
    assert type(Failed(job=1, code="from the future", sentence="?").as_error()) is ServiceError


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    yield Channel(ours), theirs
    ours.close()
    theirs.close()


def test_pixels_travel_beside_their_message(pair):
    channel, theirs = pair
    pixels = bytes(range(256)) * 40_000
    sender = threading.Thread(target=Channel(theirs).send, args=(failed(1, QueueFull("full")), pixels))
    sender.start()
    message, raw = channel.receive()
    sender.join()
    assert message == failed(1, QueueFull("full"))
    assert raw == pixels


def test_frames_that_arrive_in_crumbs_are_put_together(pair):
    channel, theirs = pair
    frame = pack(Cancel(job=1), 3) + b"abc"

    def crumble():
        for position in range(len(frame)):
            theirs.sendall(frame[position : position + 1])

    sender = threading.Thread(target=crumble)
    sender.start()
    assert channel.receive() == (Cancel(job=1), b"abc")
    sender.join()


@pytest.mark.parametrize("part", [b"", b"\x00", LENGTHS.pack(50, 0), pack(Cancel(job=1), 10) + b"abc"])
def test_peer_that_hangs_up_within_a_frame_is_noticed(pair, part):
    channel, theirs = pair
    theirs.sendall(part)
    theirs.close()
    with pytest.raises(EOFError):
        channel.receive()


def test_header_of_gigabytes_is_refused_before_it_is_read(pair):
    channel, theirs = pair
    theirs.sendall(struct.pack(">II", 2**31, 0))
    with pytest.raises(OSError, match="no message of ours"):
        channel.receive()


def test_close_wakes_whoever_receives(pair):
    channel, _ = pair
    threading.Timer(0.05, channel.close).start()
    with pytest.raises((EOFError, OSError)):
        channel.receive()
