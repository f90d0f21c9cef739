"""What crosses a process border: small typed messages, each with raw bytes beside it for pixels.

A frame is two big-endian 32-bit lengths, a msgpack header and the raw bytes. Nothing is pickled. May import the
vocabulary alone.
"""

import struct

import msgspec

from imageserver.protocol.messages.generations import (
    Answered,
    Ask,
    Cancel,
    Failed,
    Finished,
    Forecast,
    Inspect,
    Inspected,
    Preview,
    Progress,
    Queued,
    Run,
    Started,
    Submit,
    failed,
)
from imageserver.protocol.messages.inquiries import (
    AskCurrent,
    CancelJob,
    Current,
    JobEvent,
    JobList,
    JobStatus,
    ListJobs,
    Watch,
)
from imageserver.protocol.messages.message import Message
from imageserver.protocol.messages.models import (
    AskLoras,
    AskModel,
    FetchModel,
    LoadFailed,
    Loading,
    LoadModel,
    LorasLoaded,
    ModelAnswer,
    ModelFetched,
    ModelsHeld,
    Ready,
    UnloadModel,
)
from imageserver.protocol.messages.service import Hello, Snapshot, Usage

LENGTHS = struct.Struct(">II")
MAX_HEADER = 16 * 1024 * 1024

AnyMessage = (
    Hello | Submit | Answered | Ask | Queued | Inspect | Inspected | Forecast | Cancel | Run | Started | Progress
    | Preview | Finished | Failed | ListJobs | JobList | AskCurrent | Current | CancelJob | Watch | JobEvent
    | AskLoras | LorasLoaded | AskModel | FetchModel | ModelFetched | LoadModel | UnloadModel | ModelsHeld
    | ModelAnswer | Loading | Ready | LoadFailed | Usage | Snapshot
)  # fmt: skip

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


def pack(message: Message, raw_size: int = 0) -> bytes:
    """Return the lengths and header of a frame whose raw part has `raw_size` bytes."""
    header = _encoder.encode(message)
    return LENGTHS.pack(len(header), raw_size) + header


def unpack(header: bytes) -> AnyMessage:
    """Return the message in `header`; raises msgspec.DecodeError (a ValueError) for anything else."""
    return _decoder.decode(header)


__all__ = [
    "LENGTHS",
    "MAX_HEADER",
    "Answered",
    "AnyMessage",
    "Ask",
    "AskCurrent",
    "AskLoras",
    "AskModel",
    "Cancel",
    "CancelJob",
    "Current",
    "Failed",
    "FetchModel",
    "Finished",
    "Forecast",
    "Hello",
    "Inspect",
    "Inspected",
    "JobEvent",
    "JobList",
    "JobStatus",
    "ListJobs",
    "LoadFailed",
    "LoadModel",
    "Loading",
    "LorasLoaded",
    "Message",
    "ModelAnswer",
    "ModelFetched",
    "ModelsHeld",
    "Preview",
    "Progress",
    "Queued",
    "Ready",
    "Run",
    "Snapshot",
    "Started",
    "Submit",
    "UnloadModel",
    "Usage",
    "Watch",
    "failed",
    "pack",
    "unpack",
]
