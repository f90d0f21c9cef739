"""Every setting of the server, read once from the environment and `.env`.

Each field's description is its one sentence of help: `.env.example` and docs/settings.md are generated from it.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from imageserver.env_file import UserPath
from imageserver.generation import MemoryPlanName
from imageserver.registry import MAX_SIDE, MIN_SIDE, Registry, read_registry
from imageserver.web_addresses import (
    checked_host_patterns,
    checked_hosts,
    checked_networks,
    checked_origins,
    checked_public_url,
)

# What is shipped: the demo model, ControlNets, LoRAs, models.toml.
PACKAGE_DIR = Path(__file__).resolve().parent
# A copy may have left one of them out; an installed package has neither beside it.
IS_CHECKOUT = any(
    (PACKAGE_DIR.parent / name).is_file() for name in ("pyproject.toml", "start_server.sh", "start_server.bat")
)
START_COMMAND = "bash start_server.sh" if IS_CHECKOUT else "qwen-image-server serve"
# Where `.env` is and relative paths such as `state` and `tmp` begin: in a checkout the project's folder, wherever it is
# started; for an installed wheel the folder it is started in, because nothing is written among installed packages.
WORKING_DIR = PACKAGE_DIR.parent if IS_CHECKOUT else Path.cwd()


class Settings(BaseSettings):
    """Everything a user can set; the environment variable is the field's name in capitals."""

    model_config = SettingsConfigDict(
        env_file=WORKING_DIR / ".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        validate_by_name=True,
        validate_by_alias=True,
    )

    host: str = Field(
        "127.0.0.1",
        description="Address to listen on; 0.0.0.0 opens the server to the network, with API_KEYS or ALLOW_OPEN.",
    )
    port: int = Field(5000, ge=0, le=65535, description="TCP port to listen on.")
    api_keys: SecretStr | None = Field(
        None,
        description="Keys that clients must send, comma-separated, each KEY or NAME:KEY, with role=user after it if "
        "wanted; empty requires none.",
    )
    api_keys_file: UserPath | None = Field(
        None, description="File with one key per line; it is read again when it has changed."
    )
    hf_auth: Literal["off", "read", "any"] = Field(
        "off",
        description="Hugging Face tokens that grant access: off (none), read (tokens without write permission) or any; "
        "the server asks the hub who owns a token.",
    )
    hf_users: str = Field(
        "", description="Users and organisations of the hub that HF_AUTH admits, comma-separated; empty admits all."
    )
    allow_open: bool = Field(
        False, description="1 lets a server without keys listen on the network, where everybody can use it."
    )
    allowed_hosts: Annotated[str, AfterValidator(checked_host_patterns)] = Field(
        "",
        description="Host names that a server without keys answers to besides this machine's own, comma-separated; "
        "*.example allows every name below example, * any name.",
    )
    allowed_origins: Annotated[str, AfterValidator(checked_origins)] = Field(
        "",
        description="Origins whose web pages may use the server, comma-separated, such as https://app.example; * "
        "allows every page, with keys only.",
    )
    public_url: Annotated[str, AfterValidator(checked_public_url)] = Field(
        "",
        description="Address of the server as clients see it behind a proxy, such as https://images.example/path: its "
        "host and origin are allowed, and the addresses of saved images begin with it.",
    )
    workers: int = Field(1, ge=1, le=64, description="HTTP worker processes; they share one queue and one model.")
    threads: int = Field(
        4,
        ge=1,
        le=64,
        description="Native threads per worker for overlay, encoding and files; waiting requests need none.",
    )
    graceful_timeout: int = Field(
        120, ge=2, description="Seconds that running generations get to finish when the server stops."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Lowest level that is logged.")
    log_format: Literal["text", "json"] = Field(
        "text", description="Format of the log lines: text for people, json for machines."
    )

    model: str = Field(
        "auto",
        validation_alias=AliasChoices("MODEL", "MODEL_ID"),
        description="auto, demo, a name in MODELS_FILE, an id such as Qwen/Qwen-Image, or a local folder; auto uses "
        "the best model with an open licence that the free memory holds, on a CPU the embedded demo model.",
    )
    model_source: Literal["modelscope", "huggingface"] = Field("modelscope", description="Hub to download models from.")
    hf_endpoint: str = Field(
        "https://huggingface.co",
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
        description="Address of the Hugging Face hub, for models and tokens; a mirror sees the tokens of HF_AUTH.",
    )
    models_file: UserPath = Field(
        Path("models.toml"),
        description="File that names models, with their sources and defaults; without it, the one in the package.",
    )
    models_dir: UserPath = Field(Path("models"), description="Folder for downloaded models.")
    lora_dir: UserPath = Field(
        Path("loras"), description="Folder with LoRA files (NAME.safetensors) and their profiles (NAME.json)."
    )
    model_loading: Literal["off", "named", "any"] = Field(
        "named",
        description="Models that clients may load beside MODEL: off (none), named (those of MODELS_FILE, and demo) or "
        "any (every id and folder too).",
    )
    max_loaded_models: int = Field(
        0, ge=0, description="Maximum number of models in memory; 0 keeps as many of the last used as fit."
    )
    idle_unload: float = Field(
        0.0,
        ge=0,
        description="Seconds without a request after which the engine process ends and gives all memory of its device "
        "back; the next request starts it and waits; 0 keeps it.",
    )
    offline: bool = Field(
        False,
        validation_alias=AliasChoices("OFFLINE", "OFFLINE_MODE", "LOCAL_FILES_ONLY"),
        description="1 never uses a network; a model that is not on the disk is an error.",
    )
    device: str = Field("auto", description="Device to compute on: auto, cpu, cuda (also ROCm), cuda:1, xpu, npu, mps.")
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = Field(
        "auto",
        validation_alias=AliasChoices("DTYPE", "TORCH_DTYPE"),
        description="Number format of the weights; auto is bfloat16 on accelerators and float32 on a CPU. On CUDA "
        "cards before Ampere, auto is float16 for Stable Diffusion and float32 for other models.",
    )
    memory: MemoryPlanName | Literal["auto"] = Field(
        "auto",
        description="How the model fits into memory: full, float8, int8, encoder-offload, model-offload, int8-offload, "
        "nf4, group-offload, sequential-offload or device-map; auto uses the fastest that fits.",
    )
    text_encoder_path: str = Field(
        "", description="Folder or id of the text encoder that HiDream-I1 needs besides its own files: a Llama 3.1 8B."
    )
    controlnet: str = Field(
        "",
        description="Folder or id of a ControlNet to load with Qwen-Image or Stable Diffusion, or silhouettes for the "
        "demo model; requests send control_image.",
    )
    transformer_file: UserPath | None = Field(
        None, description="A .gguf or .safetensors file that replaces the model's own transformer."
    )
    safety_checker: str = Field(
        "",
        description="Folder or id of a Stable Diffusion safety checker; images that it finds unsafe are sent as black.",
    )
    vae_tiling: bool | None = Field(
        None,
        description="Decode every image in tiles: less memory, but slower, and faint seams are possible; empty does so "
        "only for images that do not fit otherwise, and where MODEL=auto needs it.",
    )

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
    max_queue: int = Field(
        64, ge=1, description="Maximum number of generations that run or wait; one more is refused with 429."
    )
    rate_limit_rpm: int = Field(
        0,
        ge=0,
        description="Requests for images per minute that a key, or without keys an address, may send; 0 sets no limit.",
    )
    quota_seconds_per_hour: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="Device seconds that the images of a key, or without keys of an address, may take in an hour; 0 "
        "sets no limit.",
    )
    quota_seconds_per_day: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Device seconds that they may take in a day (UTC); 0 sets no limit."
    )
    max_queue_mb: float = Field(
        512.0,
        gt=0,
        description="Maximum size of the decoded images that generations in the queue start from, in MiB; one more is "
        "refused with 429.",
    )
    max_decode_mb: float = Field(
        640.0,
        gt=0,
        description="Memory in which the images of requests are decoded, in MiB, shared evenly by WORKERS; requests "
        "that find none free wait.",
    )
    request_timeout: float = Field(
        600.0, gt=0, description="Seconds that a request may take, waiting included, before the server answers 504."
    )
    step_timeout: float = Field(
        60.0, gt=0, description="Minimum number of seconds without a sign of life before an engine is restarted."
    )
    max_pixels: int = Field(
        2048 * 2048, ge=64 * 64, description="Maximum width x height of one image, in pixels; protects memory."
    )
    max_steps: int = Field(150, ge=1, description="Maximum num_inference_steps of a request.")
    max_images: int = Field(10, ge=1, description="Maximum n of a request.")
    max_prompt_chars: int = Field(10_000, ge=1, le=1_000_000, description="Maximum length of a prompt, in characters.")
    max_body_mb: float = Field(32.0, gt=0, description="Maximum size of a request body, in MiB.")
    body_timeout: float = Field(60.0, gt=0, description="Seconds within which a request's body must arrive.")
    send_timeout: float = Field(
        120.0,
        ge=1,
        le=86400,
        description="Seconds after which the server disconnects a client that stops reading its response.",
    )
    max_connections_per_address: int = Field(
        500, ge=0, description="Maximum number of connections of one address to a worker, which has 1000; 0 sets none."
    )
    trusted_proxies: Annotated[str, AfterValidator(checked_networks)] = Field(
        "", description="Addresses or networks of proxies, whose clients are known by X-Forwarded-For; comma-separated."
    )
    max_image_mb: float = Field(20.0, gt=0, description="Maximum size of an image file in a request, in MiB.")
    allow_remote_images: bool = Field(
        False,
        description="1 lets requests name a public web address as their image; otherwise such requests are refused.",
    )
    stream_format: Literal["openai", "cogview4"] = Field(
        "openai",
        description="Stream format of image requests that send stream without stream_format; cogview4 serves "
        "unmodified CogView4-FastAPI clients, but streams of the OpenAI SDK must then send stream_format openai.",
    )

    output_dir: UserPath = Field(Path("tmp"), description="Folder for images saved by save_to_file.")
    tmp_max_mb: float = Field(
        2048.0, gt=0, description="Maximum size of the output folder, in MiB; the oldest saved images go first."
    )
    tmp_max_age: float = Field(7 * 86400.0, gt=0, description="Seconds that saved images are kept.")
    url_ttl: float = Field(
        0.0,
        ge=0,
        le=10 * 365 * 86400,
        description="Seconds that the signed address of a saved image opens it, with keys; 0 sets no end.",
    )
    task_ttl: float = Field(86400.0, gt=0, description="Seconds that a finished task of POST /submit is kept.")
    max_ended_tasks: int = Field(
        10_000, ge=1, description="Maximum number of ended tasks that are kept; the oldest go first."
    )
    state_max_mb: float = Field(
        64.0,
        ge=1,
        description="Maximum size of the state database, in MiB; the oldest ended tasks go first.",
    )
    webhook_secret: SecretStr | None = Field(
        None, description="Key that signs the webhooks of tasks; without it webhook_url is refused."
    )
    webhook_hosts: Annotated[str, AfterValidator(checked_hosts)] = Field(
        "public",
        description="Hosts that webhooks may go to, comma-separated, each HOST or HOST:PORT, private hosts allowed; "
        "`public` means any public address.",
    )
    cache_max_mb: float = Field(
        512.0, ge=0, description="Maximum size of the cache of finished answers, in MiB; 0 switches it off."
    )
    state_dir: UserPath = Field(
        Path("state"), description="Folder for what must survive a restart, such as request ids."
    )
    font_path: UserPath | None = Field(
        None, description="TrueType font of the overlay; the default covers Latin letters."
    )

    dispatcher_transport: Literal["auto", "unix", "tcp"] = Field(
        "auto",
        description="How the processes communicate: unix (a socket file) or tcp (loopback with a key); auto uses unix "
        "except on Windows.",
    )
    engine_module: str = Field(
        "imageserver.engine", description="Python module that runs as the engine process; tests use a fake one."
    )

    @property
    def default_size(self) -> str | None:
        """Return WIDTHxHEIGHT of requests that name no size, None for the model's default."""
        return f"{self.default_width}x{self.default_height}" if self.default_width and self.default_height else None

    @property
    def asks_for_keys(self) -> bool:
        """Whether clients must authenticate."""
        return bool(self.api_keys) or self.api_keys_file is not None or self.hf_auth != "off"

    def resolve(self, path: Path) -> Path:
        """Return `path`, relative to the project's root unless it is absolute."""
        return WORKING_DIR / path

    def registry(self) -> Registry:
        """Return the named models; raises RegistryUnusable."""
        file = self.resolve(self.models_file)
        if self.models_file == Settings.model_fields["models_file"].default and not file.exists():
            return shipped_registry()  # the user has no file of their own
        return read_registry(file)


def shipped_registry() -> Registry:
    """Return the named models that come with the server, whatever MODELS_FILE says."""
    return read_registry(PACKAGE_DIR / "models.toml")


def env_file() -> Path | None:
    """Return the file that settings are read from besides the environment, whether it exists or not."""
    file = Settings.model_config["env_file"]
    return file if isinstance(file, Path) else None


def variables_of(field: str) -> list[str]:
    """Return the environment variables of a setting, the preferred one first."""
    alias = Settings.model_fields[field].validation_alias
    return [str(name) for name in alias.choices] if isinstance(alias, AliasChoices) else [field.upper()]
