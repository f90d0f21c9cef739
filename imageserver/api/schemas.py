"""The JSON that the native views answer, as the API's document shows it; the tests compare the two."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class ResponseSchema(BaseModel):
    """Anything that is answered: every key is always there."""

    model_config = ConfigDict(extra="forbid")


class NativeError(ResponseSchema):
    """An error of the native API."""

    error: str = Field(description="One sentence for people.")
    code: str = Field(description="A stable name for programs.")
    param: str | None = Field(description="The field that is wrong.")
    request_id: int | None


class SavedImagesResponse(ResponseSchema):
    """What `save_to_file` answers."""

    status: Literal["success"]
    request_id: int
    inference_time: float = Field(description="Seconds from the first device call to the last image.")
    file_path: str
    file_paths: list[str]
    width: int
    height: int
    seed: int
    seeds: list[int]
    model: str | None
    warnings: list[str]
    nsfw_detected: bool | None = Field(description="Whether the safety checker blackened one; null without a checker.")
    queue_time: float = Field(description="Seconds from arrival to the first device call.")
    batch_size: int = Field(description="The largest number of images that shared a forward with this one.")
    cache: Literal["hit", "miss", "join"]
    url: str
    urls: list[str]


class EstimateResponse(ResponseSchema):
    """What a generation would be, and when it would be done."""

    prompt: str
    negative_prompt: str
    width: int
    height: int
    num_inference_steps: int
    true_cfg_scale: float
    classifier_free_guidance: bool
    seed: int
    n: int
    priority: str
    cache_hit: bool
    expected_seconds: float
    queue_wait: float
    queue_position: int
    learnt: bool
    median_error: float | None
    memory_mb: float | None = Field(
        description="Most memory that the device should hold, in MiB, model included; null before it was measured."
    )
    prompt_tokens: int | None = Field(
        description="Tokens of the prompt that the model would read; null while it loads."
    )
    image_tokens: int | None = Field(description="Tokens that all images would be generated in.")
    warnings: list[str]


class JobResponse(ResponseSchema):
    """One request, whatever its dialect; moments are Unix seconds, the other times seconds."""

    object: Literal["job"]
    id: int
    kind: Literal["generation", "model"] = Field(
        description="Of a model that is being loaded, the steps are percents and what is said of images is 0."
    )
    model: str = Field(description="The model that generates, or is loaded; empty before the first one is there.")
    dialect: str
    state: Literal["queued", "processing", "completed", "failed", "cancelled"]
    prompt: str
    width: int
    height: int
    steps: int
    n: int
    seed: int
    priority: str
    created_at: float
    started_at: float | None
    completed_at: float | None
    step: int
    total_steps: int
    progress: float
    queue_position: int | None
    queue_wait: float | None
    expected_seconds: float | None
    inference_time: float | None
    vram_peak_mb: float | None = Field(description="Most memory that the device held meanwhile, in MiB.")
    seeds: list[int]
    cache: str | None
    error: str | None
    code: str | None


class JobListResponse(ResponseSchema):
    """Requests, the newest first; prompts of more than 1000 characters are cut, and whole in `/v1/jobs/{number}`."""

    object: Literal["list"]
    data: list[JobResponse]


class StatusResponse(ResponseSchema):
    """A state in one word."""

    status: str


class StartupResponse(ResponseSchema):
    """How far the model has come."""

    status: str
    phase: str
    fraction: float | None
    reason: str


class OpenResponseSchema(BaseModel):
    """An answer that may grow: the keys that are named are always there."""

    model_config = ConfigDict(extra="allow")


class HealthResponse(OpenResponseSchema):
    """How the server is."""

    status: Literal["loading", "healthy", "degraded", "draining"]
    model_loaded: bool = Field(description="Whether the model of requests that name none is in memory.")
    device: str | None
    gpu: str | None
    cuda_version: str | None
    queue_length: int
    active_tasks: int
    total_tasks: int
    version: str
    generator_info: dict[str, Any]


class WorkerPool(ResponseSchema):
    """The processes that serve; one is enough for many requests at a time."""

    initialized: bool = Field(description="Whether the model is loaded.")
    num_workers: int = Field(description="HTTP workers, as `active_workers` of /health.")
    active_requests: int = Field(description="Generations that the engine works on.")
    architecture: str


class QueueStatus(ResponseSchema):
    """What waits for the engine."""

    length: int
    limit: int
    wait: float | None = Field(description="Seconds until a new request would start.")


class ServerStatusResponse(OpenResponseSchema):
    """What the server is made of, what it offers and how busy it is."""

    server: str
    version: str
    status: Literal["loading", "healthy", "degraded", "draining"]
    worker_pool: WorkerPool
    features: list[str]
    model: str | None
    device: str | None
    gpu: str | None
    queue: QueueStatus


class InfoResponse(OpenResponseSchema):
    """What is known of the model and the server."""

    model_name: str
    device: str
    gpu: str
    cuda_version: str
    model_load_time: float
    total_parameters: int
    supported_aspect_ratios: list[str]
    total_requests_processed: int
    version: str


class IndexResponse(OpenResponseSchema):
    """The API for machines."""

    name: str
    version: str
    status: str
    endpoints: list[dict[str, Any]]
