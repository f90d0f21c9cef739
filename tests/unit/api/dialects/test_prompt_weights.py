"""Brackets in the prompts of AUTOMATIC1111's clients are weights; what else it does with them is named."""

import pytest

from imageserver.api.dialects.automatic1111.bodies import Txt2ImgBody, checked, to_generate_fields, warnings_of
from imageserver.api.inputs.generate_request import parse, resolve
from imageserver.settings import Settings

SETTINGS = Settings(_env_file=None)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"prompt": "a (red:1.3) cat"}, True),
        ({"prompt": "x", "negative_prompt": r"a \(dog\)"}, True),
        ({"prompt": "a [cat]"}, True),
        ({"prompt": "a cat: red", "negative_prompt": "dog"}, False),
    ],
)
def test_brackets_in_either_prompt_are_weights(texts, expected):
    fields = to_generate_fields(checked(Txt2ImgBody, texts, SETTINGS), "png", "")
    generation, _ = resolve(parse(fields, SETTINGS), SETTINGS, None)
    assert generation.emphasis is expected
    assert not resolve(parse({"prompt": "a (cat)"}, SETTINGS), SETTINGS, None)[0].emphasis
    # Without brackets a request is answered as if it had not asked.
    assert not resolve(parse({"prompt": "a cat", "emphasis": True}, SETTINGS), SETTINGS, None)[0].emphasis


@pytest.mark.parametrize("prompt", ["a [red:blue:0.5] cat", "a [cat:0.5]", "a [dog|bird]", "[red::3]"])
def test_prompt_editing_is_named_and_weights_are_not(prompt):
    warnings = warnings_of(checked(Txt2ImgBody, {"prompt": "a (cat:1.2), [dog]", "negative_prompt": prompt}, SETTINGS))
    assert "prompt editing" in str(warnings)
    assert warnings_of(checked(Txt2ImgBody, {"prompt": "a (cat:1.2), [dog], ((bird))"}, SETTINGS)) == []
