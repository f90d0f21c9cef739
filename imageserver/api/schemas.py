"""The JSON responses of the native API and of the server's own routes, as /openapi.json documents them."""

from typing import Any, Literal

from pydantic import BaseModel, Field


class ResponseSchema(BaseModel, extra="forbid"):
    """A response whose keys are always all present."""


class NativeError(ResponseSchema):
    """An error of the native API."""

    error: str = Field(description="One sentence for people.")
    code: str = Field(description="A stable name for programs.")
    param: str | None = Field(description="The field that caused the error.")
    request_id: int | None


class SavedImagesResponse(ResponseSchema):
    """The response to a request with `save_to_file`."""

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
    nsfw_detected: bool | None = Field(description="Whether the safety checker blacked out an image; null without one.")
    revised_prompt: str | None = Field(description="The prompt that `enhance` has written; null without it.")
    queue_time: float = Field(description="Seconds from arrival to the first device call.")
    batch_size: int = Field(description="The largest number of images that shared a forward pass with this one.")
    cache: Literal["hit", "miss", "join"]
    url: str
    urls: list[str]


class EstimateResponse(ResponseSchema):
    """The parameters of a generation, its expected time and its memory."""

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
        description="Expected peak memory of the device in MiB, including the model; null until it was measured."
    )
    prompt_tokens: int | None = Field(description="Number of prompt tokens that the model reads; null while it loads.")
    image_tokens: int | None = Field(description="Number of image tokens of all images together.")
    warnings: list[str]


class JobResponse(ResponseSchema):
    """One request of any dialect; times ending in `_at` are Unix seconds, all others are durations in seconds."""

    object: Literal["job"]
    id: int
    kind: Literal["generation", "caption", "model"] = Field(
        description="`caption` describes an image and generates none; `model` is a model that is being loaded: its "
        "steps are percentages, its image fields are 0."
    )
    model: str = Field(description="The model that generates or is loaded; empty until the first model is loaded.")
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
    vram_peak_mb: float | None = Field(description="Peak memory of the device during the generation, in MiB.")
    seeds: list[int]
    revised_prompt: str | None = Field(description="The prompt that `enhance` has written; null without it.")
    cache: str | None
    device: str | None = Field(description="The device that it runs or ran on, as `/health` names it.")
    error: str | None
    code: str | None


class JobListResponse(ResponseSchema):
    """Requests, newest first; prompts are cut after 1000 characters and complete in `/v1/jobs/{number}`."""

    object: Literal["list"]
    data: list[JobResponse]


class JobProgressResponse(ResponseSchema):
    """How far one request is: the fields of a job that change while it waits and runs."""

    id: int
    state: Literal["queued", "processing"]
    step: int
    total_steps: int
    queue_position: int | None
    queue_wait: float | None
    expected_seconds: float | None


class JobProgressListResponse(ResponseSchema):
    """The requests that run or wait, newest first."""

    object: Literal["list"]
    data: list[JobProgressResponse]


class StatusResponse(ResponseSchema):
    """The state of the server in one word."""

    status: str


class StartupResponse(ResponseSchema):
    """The progress of loading the model."""

    status: str
    phase: str
    fraction: float | None
    reason: str


class OpenResponseSchema(BaseModel, extra="allow"):
    """A response that may get more keys in later versions; the documented ones are always present."""


class HealthResponse(OpenResponseSchema):
    """The state of the server."""

    status: Literal["loading", "healthy", "degraded", "draining"]
    model_loaded: bool = Field(description="Whether the default model is in memory.")
    device: str | None
    gpu: str | None
    cuda_version: str | None
    queue_length: int
    active_tasks: int
    total_tasks: int
    version: str
    generator_info: dict[str, Any]
    devices: list[dict[str, Any]] = Field(description="Each device: its state, models, work and engine process.")


class WorkerPool(ResponseSchema):
    """The HTTP workers; one is enough for many concurrent requests."""

    initialized: bool = Field(description="Whether the model is loaded.")
    num_workers: int = Field(description="Number of HTTP workers, as `active_workers` in /health.")
    active_requests: int = Field(description="Number of running generations.")
    architecture: str


class QueueStatus(ResponseSchema):
    """The queue of the engine."""

    length: int
    limit: int
    wait: float | None = Field(description="Seconds until a new request would start.")


class ServerStatusResponse(OpenResponseSchema):
    """The parts of the server, its features and its load."""

    server: str
    version: str
    status: Literal["loading", "healthy", "degraded", "draining"]
    worker_pool: WorkerPool
    features: list[str]
    model: str | None
    device: str | None
    gpu: str | None
    queue: QueueStatus


class InputLimits(OpenResponseSchema):
    """The limits of images that are sent, and of what is generated from them."""

    images: int = Field(description="Images of one request that the model sees each by itself.")
    mib: float = Field(description="Size of a file in MiB (MAX_IMAGE_MB).")
    pixels: int = Field(description="Pixels of an image that is sent.")
    generated_pixels: int = Field(description="Pixels of an image that is generated (MAX_PIXELS).")
    side: int = Field(description="Width or height of what is generated in the image's own shape.")


class InfoResponse(OpenResponseSchema):
    """Details of the model and the server."""

    model_name: str
    device: str
    gpu: str
    cuda_version: str
    model_load_time: float
    total_parameters: int
    supported_aspect_ratios: list[str]
    draws_from: list[str] = Field(
        description="What the model generates from: text, image, inpaint (an image and a mask), edit (an image to "
        "change as the prompt says), and control, control-image and control-inpaint with a ControlNet."
    )
    layers: int = Field(description="Number of layers that the model separates an image into; 0 for other models.")
    input_limits: InputLimits
    gallery: bool = Field(description="Whether saved images are in `/v1/gallery`.")
    enhance: bool = Field(description="Whether `enhance` can rewrite prompts.")
    caption: bool = Field(description="Whether a loaded model can describe images, as `interrogate` asks.")
    total_requests_processed: int
    version: str
    devices: list[dict[str, Any]] = Field(description="Each device, and how its models were fitted to it.")


class IndexResponse(OpenResponseSchema):
    """The routes of the API."""

    name: str
    version: str
    status: str
    endpoints: list[dict[str, Any]]
