"""The device, and how its memory and time are used."""

from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, Field

from imageserver.generation import MemoryPlanName
from imageserver.settings.seat_devices import checked_devices


class DeviceSettings(BaseModel):
    """The device, and how its memory and time are used."""

    device: str = Field(
        "auto",
        validation_alias=AliasChoices("DEVICE", "COGVIEW4_DEVICE"),
        description="Device to compute on: auto, cpu, cuda (also ROCm), cuda:1, xpu, npu, mps.",
    )
    devices: Annotated[str, AfterValidator(checked_devices)] = Field(
        "",
        description="Devices that serve one queue, an engine each: auto (every card) or a list such as cuda:0,cuda:1 "
        "or cpu,cpu; cuda:0+cuda:1 is one engine whose cards work on one image; none leaves it to the machines of "
        "CLUSTER; empty uses DEVICE.",
    )
    num_worker_processes: int = Field(
        0,
        ge=0,
        le=64,
        description="Number of cards, or of groups of cards, that serve one queue, the first ones; 0 uses DEVICE or "
        "DEVICES.",
    )
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto",
        validation_alias=AliasChoices("DTYPE", "TORCH_DTYPE"),
        description="Number format of the weights; auto is bfloat16 on accelerators and float32 on a CPU. On CUDA "
        "cards before Ampere, auto is float16 for Stable Diffusion and float32 for other models.",
    )
    memory: MemoryPlanName | Literal["auto"] = Field(
        "auto",
        description="How the model fits into memory: full, tensor-parallel, float8, int8, encoder-offload, "
        "model-offload, int8-offload, nf4, group-offload, sequential-offload or device-map; auto uses the fastest that "
        "fits.",
    )
    vae_tiling: bool | None = Field(
        None,
        description="Decode every image in tiles: less memory, but slower, and faint seams are possible; empty does so "
        "only for images that do not fit otherwise, and where MODEL=auto needs it.",
    )
    idle_unload: float = Field(
        0.0,
        ge=0,
        description="Seconds without a request after which the engine process ends and gives all memory of its device "
        "back; the next request starts it and waits; 0 keeps it.",
    )
    compile: bool = Field(
        False,
        description="Compile the transformer's repeated blocks: a slower start, then faster steps; sizes for which the "
        "start measures a gain below 10 % stay uncompiled.",
    )
    cuda_graphs: bool = Field(
        False,
        description="Capture the launches of forwards that are repeated (CUDA graphs), and replay them where that is "
        "measured to be faster; not tried on a card yet.",
    )
    attention_backend: str = Field(
        "",
        description="Attention backend of diffusers, such as native, flash, _flash_3 or sage; empty keeps the default.",
    )
    quality_cache: Literal[
        "taylorseer",
        "first_block",
        "magcache",
        "pyramid_attention_broadcast",
        "fastercache",
        "sea_cache",
        "text_kv_cache",
    ] = Field(
        "taylorseer",
        description="Cache that quality=high and quality=fast use to skip work: taylorseer, first_block or "
        "magcache; the server refuses the other caches of diffusers and says why.",
    )
    max_batch: int = Field(
        0,
        ge=0,
        le=64,
        description="Maximum number of images in one forward; 0 uses the measured optimum, 1 switches batching off.",
    )
    max_in_flight: int = Field(
        0,
        ge=0,
        le=256,
        validation_alias=AliasChoices("MAX_IN_FLIGHT", "MAX_CONCURRENT_REQUESTS"),
        description="Maximum number of images in progress, other requests wait; 0 uses as many as the measured memory "
        "allows.",
    )
