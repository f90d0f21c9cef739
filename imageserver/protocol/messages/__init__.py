"""The messages between processes: small and typed, each followed by raw bytes for pixels."""

from imageserver.protocol.messages.generations import (
    AdmissionRequest,
    Admitted,
    CacheHit,
    Cancel,
    ClientLeft,
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
)
from imageserver.protocol.messages.generations import JobReport as JobReport
from imageserver.protocol.messages.generations import failed as failed
from imageserver.protocol.messages.history import DeviceShare as DeviceShare
from imageserver.protocol.messages.history import History, HistoryRequest
from imageserver.protocol.messages.history import Minute as Minute
from imageserver.protocol.messages.job_queries import (
    CancelJob,
    CurrentJob,
    CurrentJobRequest,
    JobEvent,
    JobList,
    ListJobs,
    Watch,
)
from imageserver.protocol.messages.job_queries import JobStatus as JobStatus
from imageserver.protocol.messages.measurements import Measured, MeasurementsRequest
from imageserver.protocol.messages.measurements import Series as Series
from imageserver.protocol.messages.message import Message as Message
from imageserver.protocol.messages.message import NumberedMessage as NumberedMessage
from imageserver.protocol.messages.models import REFUSED as REFUSED
from imageserver.protocol.messages.models import (
    FetchModel,
    LoadFailed,
    LoadModel,
    LoadProgress,
    LoraRequest,
    LorasLoaded,
    MachineChoice,
    ModelChosen,
    ModelFetched,
    ModelRequest,
    ModelResponse,
    ModelsLoaded,
    Ready,
    UnloadModel,
)
from imageserver.protocol.messages.models import ModelReport as ModelReport
from imageserver.protocol.messages.service import DeviceUsage, Hello, Ping, Placed, Pong, Retiring, Snapshot
from imageserver.protocol.messages.service import GroupUse as GroupUse
from imageserver.protocol.messages.service import SeatStatus as SeatStatus
from imageserver.protocol.messages.usage import QuotaUse as QuotaUse
from imageserver.protocol.messages.usage import Usage, UsageRequest

AnyMessage = (
    Hello | UsageRequest | Usage | AdmissionRequest | Admitted | Submit | CacheHit | EstimateRequest | Queued
    | TokenCountRequest | TokenCounts | Estimate | Cancel | ClientLeft | Run | Started | Progress | Preview | Finished
    | Failed | ListJobs | JobList | CurrentJobRequest | CurrentJob | CancelJob | Watch | JobEvent | LoraRequest
    | LorasLoaded | ModelRequest | FetchModel | ModelFetched | LoadModel | UnloadModel | ModelsLoaded | ModelResponse
    | LoadProgress | ModelChosen | Ready | LoadFailed | DeviceUsage | Snapshot | Ping | Pong | Placed | MachineChoice
    | Retiring | MeasurementsRequest | Measured | HistoryRequest | History
)  # fmt: skip
