"""The models that the owner has named in `models.toml`, one table each (MODELS_FILE)."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from imageserver.generation import MemoryPlanName

Hub = Literal["modelscope", "huggingface"]

# Names with a meaning of their own in MODEL.
DEMO = "demo"
RESERVED = ("auto", DEMO)
MIN_SIDE = 64
MAX_SIDE = 4096


def _with_allowed_sides(size: str) -> str:
    if not all(MIN_SIDE <= int(side) <= MAX_SIDE for side in size.split("x")):
        raise ValueError(f"each side must be {MIN_SIDE} to {MAX_SIDE} pixels")
    return size


Revision = Annotated[str, Field(min_length=1)]


class ModelEntry(BaseModel):
    """The registry's entry for a name; a missing value defaults to the server's setting or the family's own."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    source: str = Field(min_length=1, description="Id on a hub such as Qwen/Qwen-Image, or a local folder.")
    hub: Hub | None = Field(None, description="Hub of the id; else MODEL_SOURCE.")
    revision: Revision | dict[Hub, Revision] | None = Field(
        None, description="Commit, tag or branch, or one for each hub; else the newest at the time of the download."
    )
    family: str | None = Field(None, description="Family that the files must be of, to be refused where they are not.")
    dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        None, description="Number format of the weights where DTYPE=auto."
    )
    memory: MemoryPlanName | None = Field(None, description="How it is fitted into memory where MEMORY=auto.")
    loras: dict[Annotated[str, Field(min_length=1)], Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)]] = (
        Field({}, description="LoRAs and their scales of a request that names none, such as { night = 0.8 }.")
    )
    steps: int | None = Field(None, ge=1, description="Steps of a request that names none.")
    guidance: float | None = Field(None, ge=0, allow_inf_nan=False, description="Guidance of a request without one.")
    size: Annotated[str, Field(pattern=r"^[0-9]{1,7}x[0-9]{1,7}$"), AfterValidator(_with_allowed_sides)] | None = Field(
        None, description="Size of a request that names none, such as 512x512."
    )
    licence: str = Field("", description="Licence of the weights.")
    commercial: bool = Field(True, description="Whether the licence allows commercial use.")
    gated: bool = Field(False, description="Whether the hub wants an account that has accepted the licence.")
    download_gb: float | None = Field(None, gt=0, description="Size of its download in GB, in a format of 16 bits.")

    def revision_on(self, hub: Hub) -> str | None:
        """Return the revision to download from a hub; None for its newest."""
        return self.revision.get(hub) if isinstance(self.revision, dict) else self.revision

    @property
    def width_and_height(self) -> tuple[int, int] | None:
        """The default size in pixels, where there is one."""
        if self.size is None:
            return None
        width, height = self.size.split("x")
        return int(width), int(height)


Registry = Mapping[str, ModelEntry]
_REGISTRY = TypeAdapter(dict[str, ModelEntry])


class RegistryUnusable(Exception):
    """The file of names cannot be used; the message is one sentence for the owner."""


def read_registry(file: Path) -> Registry:
    """Return the models by name; raises RegistryUnusable naming the file and the mistake."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        registry = _REGISTRY.validate_python(content)
    except OSError as error:
        raise RegistryUnusable(f"{file.name} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        raise RegistryUnusable(f"{file.name}: {' '.join(_complaints(error))}") from error
    except RecursionError as error:
        raise RegistryUnusable(f"{file.name} is not valid TOML: it is nested too deeply.") from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise RegistryUnusable(f"{file.name} is not valid TOML: {str(error).splitlines()[0]}.") from error
    for name in RESERVED:
        if name in registry:
            raise RegistryUnusable(f"{file.name}: [{name}] has a meaning of its own; choose another name.")
    return MappingProxyType(registry)


def _complaints(error: ValidationError) -> list[str]:
    complaints = []
    for item in error.errors():
        name, *keys = (str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            known = ", ".join(ModelEntry.model_fields)
            complaints.append(f'["{name}"] has the unknown key {keys[0]!a}; known are {known}.')
        elif item["type"] == "missing":
            complaints.append(f'["{name}"] has no {keys[0]}.')
        elif not keys:
            complaints.append(f"{name!a} is outside of every table; a model begins with its name in square brackets.")
        else:
            complaints.append(f'["{name}"] {keys[0]}={ascii(item["input"])[:80]} is not valid: {item["msg"]}.')
    return complaints
