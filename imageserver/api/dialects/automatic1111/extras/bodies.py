"""The bodies of the extras, and what they ask for.

Source: stable-diffusion-webui 1.10, `modules/api/models.py` and `scripts/postprocessing_upscale.py`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from imageserver.api.dialects.automatic1111.number_texts import as_number, texts_and_blanks
from imageserver.api.inputs.generate_request import AS_WHOLE, Flag, Fraction, Whole
from imageserver.api.inputs.validation import BlanksLeftOut, omittable, shown, without_blanks
from imageserver.api.upscaling.enlarge import Enlargement, Size
from imageserver.errors import NotFound
from imageserver.generation import CaptionForm

NO_UPSCALER, LANCZOS = "None", "Lanczos"
UPSCALERS = (NO_UPSCALER, LANCZOS)
MAX_FACTOR = 8
# deepbooru is what AUTOMATIC1111's own page calls it.
CAPTION_FORMS: dict[str, CaptionForm] = {"clip": "sentence", "deepdanbooru": "tags", "deepbooru": "tags"}
# Features that are not served, as numbers between 0 and 1.
UNSUPPORTED = ("gfpgan_visibility", "codeformer_visibility", "extras_upscaler_2_visibility")


class ExtrasBody(BlanksLeftOut, strict=True, extra="allow", json_schema_extra=texts_and_blanks):
    """What both bodies say of the new size; unknown keys are ignored."""

    resize_mode: Annotated[Literal[0, 1], AS_WHOLE] = Field(
        0, description="0 enlarges by upscaling_resize, 1 to upscaling_resize_w and _h."
    )
    upscaler_1: str = Field(
        NO_UPSCALER, description="None leaves the size as it is, Lanczos enlarges; any other means Lanczos."
    )
    upscaling_resize: Fraction = Field(2, ge=1, le=MAX_FACTOR, description="How many times as large.")
    upscaling_resize_w: Whole = Field(512, ge=1, le=16_000, description="New width in pixels.")
    upscaling_resize_h: Whole = Field(512, ge=1, le=16_000, description="New height in pixels.")
    upscaling_crop: Flag = Field(True, description="Cut off what does not fit; false keeps the whole image.")

    def enlargement(self) -> Enlargement:
        """Return what an image becomes."""
        if self.upscaler_1 == NO_UPSCALER:
            return Enlargement(size_of=lambda size: size, size_name="image")
        if self.resize_mode == 0:
            return Enlargement(size_of=self._by_factor, size_name="upscaling_resize")
        size_of = self._to_size if self.upscaling_crop else self._within_size
        return Enlargement(size_of=size_of, crop=bool(self.upscaling_crop), size_name="upscaling_resize_w")

    def warnings(self) -> list[str]:
        """Return warnings about what is asked for and not done."""
        given = without_blanks(self.model_extra or {})
        warnings = [f"{name} is ignored." for name in UNSUPPORTED if as_number(given.get(name, 0)) != 0]
        if self.upscaler_1 not in UPSCALERS:
            warnings.append(f"upscaler {shown(self.upscaler_1)} is not served; {LANCZOS} is used.")
        return warnings

    def _by_factor(self, size: Size) -> Size:
        return int(size[0] * self.upscaling_resize), int(size[1] * self.upscaling_resize)

    def _to_size(self, size: Size) -> Size:
        return self.upscaling_resize_w, self.upscaling_resize_h

    def _within_size(self, size: Size) -> Size:
        factor = min(self.upscaling_resize_w / size[0], self.upscaling_resize_h / size[1])
        return max(1, int(size[0] * factor)), max(1, int(size[1] * factor))


class InterrogateBody(BlanksLeftOut, strict=True, extra="ignore", json_schema_extra=omittable):
    """The body of `POST /sdapi/v1/interrogate`."""

    image: str = Field(description="The image: base64, a data URL or, if allowed, a web address.")
    model: str = Field("clip", description="clip asks for a sentence, deepdanbooru for tags.")

    @property
    def form(self) -> CaptionForm:
        """What the answer is; raises NotFound for another model."""
        if self.model not in CAPTION_FORMS:
            raise NotFound(f"model {shown(self.model)} is not served; clip and deepdanbooru are.", param="model")
        return CAPTION_FORMS[self.model]


class SingleImageBody(ExtrasBody):
    """The body of `POST /sdapi/v1/extra-single-image`."""

    image: str = Field(description="The image: base64, a data URL or, if allowed, a web address.")


class NamedImage(BaseModel, strict=True, extra="ignore"):
    """One image of a batch."""

    data: str = Field(description="The image: base64, a data URL or, if allowed, a web address.")
    name: str = Field("", description="A file name; it has no effect.")


class BatchImagesBody(ExtrasBody):
    """The body of `POST /sdapi/v1/extra-batch-images`."""

    imageList: list[NamedImage] = Field(min_length=1, description="The images.")  # noqa: N815
