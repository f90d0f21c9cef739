"""The unit of the ControlNet extension in a request, and its translation to the control images of the native API.

Source: sd-webui-controlnet 1.1.455, `scripts/external_code.py` and `scripts/api.py`.
"""

import re
from dataclasses import dataclass
from typing import TypeVar

from pydantic import Field

from imageserver.api.dialects.automatic1111.bodies import GeneratingBody
from imageserver.api.dialects.automatic1111.checkpoints import MAX_TITLE_CHARACTERS
from imageserver.api.dialects.automatic1111.number_texts import with_numbers
from imageserver.api.inputs.controls import ControlOptions, Preprocessor
from imageserver.api.inputs.generate_request import Flag, Fraction
from imageserver.api.inputs.images.control_image import ControlImage
from imageserver.api.inputs.images.image_bytes import fetch
from imageserver.api.inputs.validation import BlanksLeftOut, shown, validated, without_nulls
from imageserver.api.services import Services
from imageserver.generation import MAX_CONTROLS

B = TypeVar("B", bound=GeneratingBody)

SCRIPTS, SCRIPT = "alwayson_scripts", "controlnet"
NO_MODULE = ("", "none", "None")
# The preprocessors by the names that the extension has in its API and in its menus.
PREPROCESSORS: dict[str, Preprocessor] = {
    "canny": "canny",
    "invert": "invert",
    "invert (from white bg & black line)": "invert",
}
MODULES = ("none", "canny", "invert")
BALANCED = (0, "Balanced")
NO_MODEL = ("", "none", "None", "auto")
HASH = re.compile(r" \[[0-9a-fA-F]+\]$")


class ControlUnit(BlanksLeftOut, strict=True, extra="ignore"):
    """The supported fields of a unit; others are ignored."""

    enabled: Flag = Field(True, description="false ignores the unit.")
    image: str | None = Field(None, description="The control image.")
    input_image: str | None = Field(None, description="Older name of image.")
    weight: Fraction = Field(1.0, ge=0, le=2, description="Strength of the control image.")
    guidance_start: Fraction = Field(0.0, ge=0, le=1, description="Share of the steps after which it starts.")
    guidance_end: Fraction = Field(1.0, ge=0, le=1, description="Share of the steps after which it ends.")
    module: str = Field(
        "none", description="Preprocessor: none, canny or invert; for any other the image is used as it is."
    )
    model: str = Field("None", description="One of /controlnet/model_list; the first for any other.")
    control_mode: int | str = Field(0, description="0 or Balanced; others are ignored.")


@dataclass(frozen=True)
class ControlImages:
    """The images of the units, and warnings."""

    images: tuple[ControlImage, ...]
    warnings: list[str]


NO_CONTROL = ControlImages((), [])


def extract_units(service: Services, body: B) -> tuple[B, ControlImages]:
    """Return the body without its ControlNet units, and the images of the enabled ones.

    On a server without a ControlNet the body stays as it is. Raises InvalidParameter naming the field.
    """
    scripts = (body.model_extra or {}).get(SCRIPTS)
    if not service.settings.controlnet or not isinstance(scripts, dict):
        return body, NO_CONTROL
    found = [name for name in scripts if name.casefold() == SCRIPT]
    sent = scripts[found[0]].get("args") if found and isinstance(scripts[found[0]], dict) else None
    given = [
        with_numbers(ControlUnit, without_nulls(unit))
        for unit in (sent if isinstance(sent, list) else [])
        if isinstance(unit, dict)
    ]
    # Clients send everything else of a unit that is switched off, too, whatever it is.
    units = [validated(ControlUnit, unit) for unit in given if unit.get("enabled") not in (False, 0)]
    if not units:
        return body, NO_CONTROL
    rest = {name: script for name, script in scripts.items() if name != found[0]}
    return body.model_copy(update={SCRIPTS: rest}), _images_of(service, units)


def _images_of(service: Services, units: list[ControlUnit]) -> ControlImages:
    images, warnings = list[ControlImage](), list[str]()
    for unit in units:
        text = unit.image or unit.input_image
        if text is None:
            warnings.append(f"{SCRIPT}: a unit without an image is ignored.")
        elif len(images) == MAX_CONTROLS:
            warnings.append(f"{SCRIPT}: only {MAX_CONTROLS} units are used, the others are ignored.")
            break
        else:
            options, ignored = _options_of(service, unit)
            images.append(ControlImage(image=fetch(service, text, name=SCRIPT), name=SCRIPT, options=options))
            warnings += ignored
    return ControlImages(tuple(images), list(dict.fromkeys(warnings)))


def _options_of(service: Services, unit: ControlUnit) -> tuple[ControlOptions, list[str]]:
    """Return the unit in the native API's terms, and warnings."""
    warnings = list[str]()
    preprocessor = PREPROCESSORS.get(unit.module[:MAX_TITLE_CHARACTERS].lower(), "none")
    if preprocessor == "none" and unit.module not in NO_MODULE:
        served = " and ".join(MODULES[1:])
        warnings.append(
            f"{SCRIPT}: module {shown(unit.module)} is not served, only {served}: the image is used as it is."
        )
    names = service.settings.controlnet_names
    title = unit.model[:MAX_TITLE_CHARACTERS]
    # A title may end in a hash: "canny [d14c016b]".
    model = next((name for name in names if name in (title, HASH.sub("", title))), None)
    if model is None and unit.model not in NO_MODEL:
        warnings.append(f"{SCRIPT}: model {shown(unit.model)} is ignored: {names[0]} is used.")
    if unit.control_mode not in BALANCED:
        warnings.append(f"{SCRIPT}: control_mode {shown(unit.control_mode)} is ignored.")
    options = ControlOptions(
        preprocessor=preprocessor, scale=unit.weight, start=unit.guidance_start, end=unit.guidance_end, model=model
    )
    return options, warnings
