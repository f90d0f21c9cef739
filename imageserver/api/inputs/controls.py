"""The control images of a request, each with its preprocessor, its strength, its steps and its ControlNet."""

from typing import Annotated, Literal

from pydantic import Field

from imageserver.api.inputs.validation import BlanksLeftOut, shown
from imageserver.errors import InvalidParameter
from imageserver.generation import MAX_CONTROLS
from imageserver.settings import Settings

Preprocessor = Literal["none", "canny", "invert"]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class ControlOptions(BlanksLeftOut, strict=True, extra="forbid"):
    """How an image guides."""

    preprocessor: Preprocessor = Field("none", description="What is made of it first, as `control_preprocessor`.")
    scale: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = Field(1.0, description="Its strength.")
    start: Share = Field(0.0, description="Share of the steps after which it starts.")
    end: Share = Field(1.0, description="Share of the steps after which it ends.")
    model: str | None = Field(
        None, max_length=300, description="One of the ControlNets in CONTROLNET; the first if omitted."
    )


class ControlChoice(ControlOptions):
    """One control image of several."""

    image: str = Field(description="The image, as `control_image`.")


class ControlChoices(BlanksLeftOut, strict=True, extra="ignore"):
    """The control images of a body, where it has several."""

    controls: list[ControlChoice] | None = Field(None, max_length=MAX_CONTROLS)


def number_of(name: str | None, settings: Settings) -> int:
    """Return the number of a ControlNet by its name; raises InvalidParameter for one that is not there."""
    names = settings.controlnet_names
    if name is None:
        return 0
    if name not in names:
        raise InvalidParameter(
            f"controls: model {shown(name)} is not loaded; CONTROLNET has {', '.join(names) or 'none'}.",
            param="controls",
        )
    return names.index(name)
