"""What crosses a process border: small typed messages, each with raw bytes beside it for pixels.

A frame is two big-endian 32-bit lengths, a msgpack header and the raw bytes. Nothing is pickled. May import the
vocabulary alone.
"""

import struct

import msgspec

from imageserver.protocol.messages.generations import (
    CacheHit,
    Cancel,
    Estimate,
    EstimateRequest,
    Failed,
    Finished,
    Preview,
    Progress,
    Queued,
    Run,
    Started,
    Submit,
    TokenCountRequest,
    TokenCounts,
    failed,
)
from imageserver.protocol.messages.job_queries import (
    CancelJob,
    CurrentJob,
    CurrentJobRequest,
    JobEvent,
    JobList,
    JobStatus,
    ListJobs,
    Watch,
)
from imageserver.protocol.messages.message import Message
from imageserver.protocol.messages.models import (
    FetchModel,
    LoadFailed,
    LoadModel,
    LoadProgress,
    LoraRequest,
    LorasLoaded,
    ModelFetched,
    ModelRequest,
    ModelResponse,
    ModelsLoaded,
    Ready,
    UnloadModel,
)
from imageserver.protocol.messages.service import DeviceUsage, Hello, Snapshot

LENGTHS = struct.Struct(">II")
MAX_HEADER = 16 * 1024 * 1024

AnyMessage = (
    Hello | Submit | CacheHit | EstimateRequest | Queued | TokenCountRequest | TokenCounts | Estimate | Cancel | Run
    | Started | Progress | Preview | Finished | Failed | ListJobs | JobList | CurrentJobRequest | CurrentJob | CancelJob
    | Watch | JobEvent | LoraRequest | LorasLoaded | ModelRequest | FetchModel | ModelFetched | LoadModel | UnloadModel
    | ModelsLoaded | ModelResponse | LoadProgress | Ready | LoadFailed | DeviceUsage | Snapshot
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
    "AnyMessage",
    "CacheHit",
    "Cancel",
    "CancelJob",
    "CurrentJob",
    "CurrentJobRequest",
    "DeviceUsage",
    "Estimate",
    "EstimateRequest",
    "Failed",
    "FetchModel",
    "Finished",
    "Hello",
    "JobEvent",
    "JobList",
    "JobStatus",
    "ListJobs",
    "LoadFailed",
    "LoadModel",
    "LoadProgress",
    "LoraRequest",
    "LorasLoaded",
    "Message",
    "ModelFetched",
    "ModelRequest",
    "ModelResponse",
    "ModelsLoaded",
    "Preview",
    "Progress",
    "Queued",
    "Ready",
    "Run",
    "Snapshot",
    "Started",
    "Submit",
    "TokenCountRequest",
    "TokenCounts",
    "UnloadModel",
    "Watch",
    "failed",
    "pack",
    "unpack",
]
