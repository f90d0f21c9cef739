"""The hires fix: a second stage of txt2img, and its translation to the fields of `POST /generate`.

Source: stable-diffusion-webui 1.10, `modules/processing.py`.
"""

import re
from typing import Any

from pydantic import BaseModel, Field

from imageserver.api.dialects.automatic1111.extras.bodies import UPSCALERS
from imageserver.api.inputs.generate_request import MAX_UPSCALE, Flag, Fraction, Whole
from imageserver.api.inputs.validation import shown
from imageserver.errors import InvalidParameter
from imageserver.registry import MAX_SIDE

# As there.
DEFAULT_STRENGTH = 0.75
# Of the second stage alone; it has those of the first.
WITHOUT_EFFECT = ("hr_prompt", "hr_negative_prompt", "hr_sampler_name", "hr_scheduler", "hr_checkpoint_name")
# Of `POST /generate`, by the names that they have here.
OWN_NAMES = {"upscale_strength": "denoising_strength", "upscale_steps": "hr_second_pass_steps"}
STAGE_FIELD = re.compile(r"\bupscale(?:_strength|_steps)?\b")
SAME = (None, "", "Use same sampler", "Use same scheduler", "Use same checkpoint")


class HiresFix(BaseModel, strict=True):
    """The fields of a body that can ask for a second stage."""

    enable_hr: Flag = Field(False, description="Enlarge the image and generate over it in a second stage.")
    hr_scale: Fraction = Field(2, ge=1, le=MAX_UPSCALE, description="How many times as large.")
    hr_resize_x: Whole = Field(0, ge=0, le=MAX_UPSCALE * MAX_SIDE, description="New width, 0 for that of hr_scale.")
    hr_resize_y: Whole = Field(0, ge=0, le=MAX_UPSCALE * MAX_SIDE, description="New height, 0 for that of hr_scale.")
    hr_upscaler: str = Field("", description="Lanczos is used, for any other with a warning.")
    hr_second_pass_steps: Whole = Field(0, ge=0, description="Steps of the second stage, 0 for those of the first.")
    denoising_strength: Fraction = Field(
        DEFAULT_STRENGTH, ge=0, le=1, description="How much the second stage changes; 0 only enlarges."
    )

    def hires_fields(self, width: int, height: int) -> dict[str, Any]:
        """Return the fields for a first stage of this size; none where it is not to be enlarged."""
        factor = self._factor(width, height)
        if not self.enable_hr or factor == 1:
            return {}
        steps = {"upscale_steps": self.hr_second_pass_steps} if self.hr_second_pass_steps else {}
        return {"upscale": factor, "upscale_strength": self.denoising_strength, **steps}

    def hires_warnings(self, given: dict[str, Any], width: int, height: int) -> list[str]:
        """Return warnings about fields of the second stage, those that are not known too, which are ignored."""
        if not self.enable_hr:
            return []
        wanted = self._wanted_factor(width, height)
        if wanted <= 1:
            return ["enable_hr is ignored: the image would not become larger."]
        warnings = [f"{name} is ignored." for name in WITHOUT_EFFECT if given.get(name) not in SAME]
        if self.hr_upscaler not in ("", *UPSCALERS):
            warnings.append(f"hr_upscaler {shown(self.hr_upscaler)} is not served; Lanczos is used.")
        if wanted > MAX_UPSCALE:
            warnings.append(f"hr_resize_x and hr_resize_y: the image becomes {MAX_UPSCALE} times as large, the most.")
        elif self.hr_resize_x and self.hr_resize_y:
            warnings.append("hr_resize_x and hr_resize_y: the image keeps its shape and covers that size.")
        return warnings

    def in_own_names(self, error: InvalidParameter) -> InvalidParameter:
        """Return an error about the second stage with the names that these fields have here; any other as it is."""
        resized = next((name for name in ("hr_resize_x", "hr_resize_y") if getattr(self, name)), None)
        names = {"upscale": resized or "hr_scale"} | OWN_NAMES
        if error.param not in names:
            return error
        sentence = STAGE_FIELD.sub(lambda found: names[found[0]], error.sentence)
        return InvalidParameter(sentence, param=names[error.param])

    def _factor(self, width: int, height: int) -> float:
        return min(max(self._wanted_factor(width, height), 1.0), MAX_UPSCALE)

    def _wanted_factor(self, width: int, height: int) -> float:
        return max(self.hr_resize_x / width, self.hr_resize_y / height) or self.hr_scale
