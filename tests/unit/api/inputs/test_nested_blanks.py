"""A blank text is a field left out also where a body has objects inside."""

import pytest

from imageserver.api.dialects.automatic1111.catalog import OptionsBody
from imageserver.api.dialects.automatic1111.controlnet.units import ControlUnit
from imageserver.api.dialects.automatic1111.extras.bodies import InterrogateBody, SingleImageBody
from imageserver.api.dialects.automatic1111.number_texts import with_numbers
from imageserver.api.dialects.huggingface import HuggingFaceParameters
from imageserver.api.inputs.controls import ControlChoice, ControlChoices
from imageserver.api.inputs.loras import LoraChoice
from imageserver.api.inputs.validation import validated
from imageserver.errors import InvalidParameter

BLANK = pytest.mark.parametrize("blank", ["", " \n"])


@BLANK
@pytest.mark.parametrize(
    ("model", "needed", "names"),
    [
        (LoraChoice, {"name": "night"}, ("scale",)),
        (ControlChoice, {"image": "aGk="}, ("preprocessor", "scale", "start", "end", "model")),
        (ControlChoices, {}, ("controls",)),
        (ControlUnit, {}, ("enabled", "image", "input_image", "guidance_end", "module", "model", "control_mode")),
        (OptionsBody, {}, ("samples_format", "sd_model_checkpoint")),
        (SingleImageBody, {"image": "aGk="}, ("upscaler_1",)),
        (InterrogateBody, {"image": "aGk="}, ("model",)),
        (HuggingFaceParameters, {}, ("target_size",)),
    ],
)
def test_it_is_the_object_without_the_field(model, needed, names, blank):
    assert validated(model, needed | dict.fromkeys(names, blank)) == validated(model, needed)


@BLANK
def test_a_target_size_of_blanks_is_none(blank):
    parameters = validated(HuggingFaceParameters, {"target_size": {"width": blank, "height": blank}})
    assert parameters.target_size is not None
    assert parameters.target_size.model_dump(exclude_none=True) == {}


@BLANK
def test_what_is_needed_is_missing_where_it_is_blank(blank):
    with pytest.raises(InvalidParameter):
        validated(LoraChoice, {"name": blank.strip()})


def test_a_unit_takes_numbers_and_switches_as_text():
    unit = validated(
        ControlUnit, with_numbers(ControlUnit, {"weight": "0.5", "enabled": "false", "guidance_start": ""})
    )
    assert (unit.weight, unit.enabled, unit.guidance_start) == (0.5, False, 0.0)
