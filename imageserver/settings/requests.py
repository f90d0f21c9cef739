"""What requests get that name no value, and what they may ask for."""

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, Field

from imageserver.registry import MAX_SIDE, MIN_SIDE
from imageserver.settings.env_file import UserPath


class RequestSettings(BaseModel):
    """What requests get that name no value, and what they may ask for."""

    default_steps: int | None = Field(
        None, ge=1, description="Steps of requests that name none; empty uses the model's default."
    )
    default_guidance_scale: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Guidance of requests that name none (true_cfg_scale of Qwen-Image); empty uses the model's "
        "default.",
    )
    default_width: int | None = Field(
        None,
        ge=MIN_SIDE,
        le=MAX_SIDE,
        description="Width in pixels of requests that name no size, together with DEFAULT_HEIGHT; empty uses the "
        "model's default.",
    )
    default_height: int | None = Field(
        None, ge=MIN_SIDE, le=MAX_SIDE, description="Height in pixels of requests that name no size."
    )
    default_scheduler: str = Field(
        "",
        validation_alias=AliasChoices("DEFAULT_SCHEDULER", "SCHEDULER_TYPE"),
        description="Noise scheduler of requests that name none, such as DPM++ 2M; empty uses the model's own.",
    )
    use_karras_sigmas: bool | None = Field(
        None, description="Whether that scheduler uses Karras' noise levels; empty keeps its own choice."
    )
    max_pixels: int = Field(
        2048 * 2048,
        ge=64 * 64,
        description="Maximum width x height of one image, in pixels, four times as many for one that is sent or that "
        "upscale makes larger; protects memory.",
    )
    max_steps: int = Field(150, ge=1, description="Maximum num_inference_steps of a request.")
    max_images: int = Field(10, ge=1, description="Maximum n of a request.")
    max_prompt_chars: int = Field(10_000, ge=1, le=1_000_000, description="Maximum length of a prompt, in characters.")
    max_image_mb: float = Field(20.0, gt=0, description="Maximum size of an image file in a request, in MiB.")
    allow_remote_images: bool = Field(
        False,
        description="1 lets requests name a public web address as their image; otherwise such requests are refused.",
    )
    styles_file: UserPath = Field(
        Path("styles.toml"),
        description="File of the web page's styles, words that a click adds to a prompt; without it, the one in the "
        "package.",
    )
    stream_format: Literal["openai", "cogview4"] = Field(
        "openai",
        description="Stream format of image requests that send stream without stream_format; cogview4 serves "
        "unmodified CogView4-FastAPI clients, but streams of the OpenAI SDK must then send stream_format openai.",
    )
