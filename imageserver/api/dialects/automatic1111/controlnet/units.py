"""The unit of the ControlNet extension in a request, and its translation to the fields of `POST /generate`.

Source: sd-webui-controlnet 1.1.455, `scripts/external_code.py` and `scripts/api.py`.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, Field

from imageserver.api.dialects.automatic1111.bodies import GeneratingBody
from imageserver.api.inputs.generate_request import Fraction
from imageserver.api.inputs.images.control_image import ControlImage
from imageserver.api.inputs.images.image_bytes import fetch
from imageserver.api.inputs.validation import shown, validated, without_nulls
from imageserver.api.services import Services

B = TypeVar("B", bound=GeneratingBody)

SCRIPTS, SCRIPT = "alwayson_scripts", "controlnet"
NO_MODULE = ("", "none", "None")
# The preprocessors by the names that the extension has in its API and in its menus.
PREPROCESSORS = {"canny": "canny", "invert": "invert", "invert (from white bg & black line)": "invert"}
MODULES = ("none", "canny", "invert")
MAX_UNITS = 1
BALANCED = (0, "Balanced")
NO_MODEL = ("", "none", "None", "auto")


class ControlUnit(BaseModel, strict=True, extra="ignore"):
    """The supported fields of a unit; others are ignored."""

    enabled: bool = Field(True, description="false ignores the unit.")
    image: str | None = Field(None, description="The control image.")
    input_image: str | None = Field(None, description="Older name of image.")
    weight: Fraction = Field(1.0, ge=0, le=2, description="Strength of the control image.")
    guidance_start: Fraction = Field(0.0, ge=0, le=1, description="Share of the steps after which it starts.")
    guidance_end: Fraction = Field(1.0, ge=0, le=1, description="Share of the steps after which it ends.")
    module: str = Field(
        "none", description="Preprocessor: none, canny or invert; for any other the image is used as it is."
    )
    model: str = Field("None", description="Ignored: the server has one ControlNet.")
    control_mode: int | str = Field(0, description="0 or Balanced; others are ignored.")


@dataclass(frozen=True)
class ControlFields:
    """The image of a unit, its fields for `POST /generate`, and warnings."""

    image: ControlImage | None
    fields: dict[str, Any]
    warnings: list[str]


NO_CONTROL = ControlFields(None, {}, [])


def extract_unit(service: Services, body: B) -> tuple[B, ControlFields]:
    """Return the body without its ControlNet units, and the fields of the first enabled unit.

    On a server without a ControlNet the body stays as it is. Raises InvalidParameter naming the field.
    """
    scripts = (body.model_extra or {}).get(SCRIPTS)
    if not service.settings.controlnet or not isinstance(scripts, dict):
        return body, NO_CONTROL
    found = [name for name in scripts if name.casefold() == SCRIPT]
    sent = scripts[found[0]].get("args") if found and isinstance(scripts[found[0]], dict) else None
    units = [
        validated(ControlUnit, without_nulls(unit))
        for unit in (sent if isinstance(sent, list) else [])
        if isinstance(unit, dict) and unit.get("enabled") is not False
    ]
    if not units:
        return body, NO_CONTROL
    rest = {name: script for name, script in scripts.items() if name != found[0]}
    return body.model_copy(update={SCRIPTS: rest}), _fields_of(service, units)


def _fields_of(service: Services, units: list[ControlUnit]) -> ControlFields:
    unit, warnings = units[0], []
    text = unit.image or unit.input_image
    if text is None:
        return ControlFields(None, {}, [f"{SCRIPT}: a unit without an image is ignored."])
    if len(units) > 1:
        warnings.append(f"{SCRIPT}: only the first unit is used, {len(units) - 1} more are ignored.")
    preprocessor = PREPROCESSORS.get(unit.module.lower(), "none")
    if preprocessor == "none" and unit.module not in NO_MODULE:
        served = " and ".join(MODULES[1:])
        warnings.append(
            f"{SCRIPT}: module {shown(unit.module)} is not served, only {served}: the image is used as it is."
        )
    if unit.model not in NO_MODEL:
        warnings.append(f"{SCRIPT}: model {shown(unit.model)} is ignored: the server has one ControlNet.")
    if unit.control_mode not in BALANCED:
        warnings.append(f"{SCRIPT}: control_mode {shown(unit.control_mode)} is ignored.")
    fields = {
        "controlnet_conditioning_scale": unit.weight,
        "control_guidance_start": unit.guidance_start,
        "control_guidance_end": unit.guidance_end,
        "control_preprocessor": preprocessor,
    }
    return ControlFields(ControlImage(image=fetch(service, text, name=SCRIPT), name=SCRIPT), fields, warnings)
