"""What crosses a process border comes out as it went in."""

import typing

import msgspec
import pytest

from imageserver.errors import BY_CODE, ServiceError
from imageserver.generation import DeviceInfo, ModelInfo, Outcome, RecommendedModel
from imageserver.protocol.framing import pack
from imageserver.protocol.initial_model import InitialModel
from imageserver.protocol.messages import (
    AnyMessage,
    DeviceShare,
    Failed,
    JobStatus,
    Message,
    Minute,
    NumberedMessage,
    QuotaUse,
    Series,
    failed,
)
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
        recommended=RecommendedModel("i", "MODEL=i", 1.5, "j"),
    ),
    "choice": InitialModel("猫", "It fits.", "full", "It is fastest.", vae_tiling=True),
    "status": STATUS,
    "jobs": (STATUS, STATUS),
    "quotas": (QuotaUse(name="hour", unit="device-seconds", limit=0.5, window=3600, used=1.5, reset=2.5),),
    "series": (Series(name="webhooks", labels=("猫",), counts=(0, 2**40), total=1.5),),
    "minutes": (
        Minute(
            ended_at=1.5, seconds=60.0, queued=0.5, running=0.25, refused=2**40,
            devices=(DeviceShare(name="cuda:0", busy=0.5),),
        ),
    ),
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
def test_every_message_survives_the_border(kind, receive):
    message = sample(kind)
    raw = b"raw"[: message.max_raw_bytes]
    assert receive(pack(message, len(raw)) + raw) == (message, raw)


def test_every_kind_of_message_may_cross():
    kinds = {*Message.__subclasses__(), *NumberedMessage.__subclasses__()} - {NumberedMessage}
    # Ranks of a group of cards have messages of their own.
    assert set(typing.get_args(AnyMessage)) == {
        kind for kind in kinds if kind.__module__.startswith("imageserver.protocol")
    }


@pytest.mark.parametrize("kind", BY_CODE.values(), ids=BY_CODE)
def test_every_error_comes_out_as_it_went_in(kind):
    error = failed(7, kind("A sentence.", param="seed", retry_after=1.5)).as_error()
    assert type(error) is kind
    assert (error.sentence, error.param, error.retry_after) == ("A sentence.", "seed", 1.5)


def test_unknown_code_is_an_internal_error():
    assert type(Failed(job=1, code="from the future", sentence="?").as_error()) is ServiceError
