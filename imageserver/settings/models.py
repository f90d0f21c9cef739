"""Which models there are, and where their files come from."""

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, Field

from imageserver.settings.env_file import UserPath
from imageserver.web_addresses import entries


class ModelSettings(BaseModel):
    """Which models there are, and where their files come from."""

    model: str = Field(
        "auto",
        validation_alias=AliasChoices("MODEL", "MODEL_ID"),
        description="auto, demo, a name in MODELS_FILE, an id such as Qwen/Qwen-Image, a local folder, or a checkpoint "
        "file of Stable Diffusion 1.5 or XL; auto uses the best model with an open licence that the free memory holds, "
        "on a CPU the embedded demo model.",
    )
    model_source: Literal["modelscope", "huggingface"] = Field("modelscope", description="Hub to download models from.")
    hf_endpoint: str = Field(
        "https://huggingface.co",
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
        description="Address of the Hugging Face hub, for models and tokens; a mirror sees the tokens of HF_AUTH.",
    )
    offline: bool = Field(
        False,
        validation_alias=AliasChoices("OFFLINE", "OFFLINE_MODE", "LOCAL_FILES_ONLY"),
        description="1 never uses a network; a model that is not on the disk is an error.",
    )
    models_file: UserPath = Field(
        Path("models.toml"),
        description="File that names models, with their sources and defaults; without it, the one in the package.",
    )
    models_dir: UserPath = Field(Path("models"), description="Folder for downloaded models.")
    lora_dir: UserPath = Field(
        Path("loras"),
        description="Folder with LoRA files (NAME.safetensors) and their profiles (NAME.json), also in folders below.",
    )
    model_loading: Literal["off", "named", "any"] = Field(
        "named",
        description="Models that clients may load beside MODEL: off (none), named (those of MODELS_FILE, and demo) or "
        "any (every id and folder too, and LoRAs by their id).",
    )
    max_loaded_models: int = Field(
        0, ge=0, description="Maximum number of models in memory; 0 keeps as many of the last used as fit."
    )
    text_encoder_path: str = Field(
        "", description="Folder or id of the text encoder that HiDream-I1 needs besides its own files: a Llama 3.1 8B."
    )
    controlnet: str = Field(
        "",
        description="Folder or id of a ControlNet to load with Qwen-Image or Stable Diffusion, or silhouettes for the "
        "demo model; requests send control_image. Stable Diffusion takes up to 3, separated by commas.",
    )
    transformer_file: UserPath | None = Field(
        None, description="A .gguf or .safetensors file that replaces the model's own transformer."
    )
    safety_checker: str = Field(
        "",
        description="Folder or id of a Stable Diffusion safety checker; images that it finds unsafe are sent as black.",
    )

    @property
    def controlnets(self) -> tuple[str, ...]:
        """The folders and ids that CONTROLNET names, in its order."""
        return tuple(entries(self.controlnet))

    @property
    def controlnet_names(self) -> tuple[str, ...]:
        """What clients call the ControlNets: of a folder its last part, to keep paths private."""
        return tuple(Path(name).name if Path(name).is_absolute() else name for name in self.controlnets)
