"""A LoRA's tag in a prompt becomes a LoRA of the request, or a warning."""

import pytest

from imageserver.api.dialects.automatic1111.lora_tags import loras_in
from tests.support.automatic1111_bodies import native, txt2img


def test_lora_tags_are_removed_from_the_prompt_and_become_loras():
    body = txt2img(prompt="a cat <lora:Fancy Style:0.8>, sitting<lyco:b>", negative_prompt="<lora:c:-1:0.5>dog")
    assert native(body)["prompt"] == "a cat, sitting"
    assert native(body)["negative_prompt"] == "dog"
    chosen, warnings = loras_in(body.prompt, body.negative_prompt, ["fancy style", "c"])
    assert chosen == [{"name": "fancy style", "scale": 0.8}]
    assert warnings == ["these tags were removed from the prompts without adding a LoRA: 'c', 'b'."]


@pytest.mark.parametrize(
    ("tag", "scale"),
    [
        ("<lora:a>", 1), ("<lora:a:>", 1), ("<lora:a:0.5>", 0.5), ("<lora:A:-1>", -1), ("<lora:a:0.5:0.8>", 0.8),
        ("<lora:a:unet=0.8:dyn=4>", 0.8), ("<lora:a:1:0.7:dyn=4>", 0.7), ("<lyco:a:2>", 2),
    ],
)  # fmt: skip
def test_every_way_to_write_a_strength_is_read(tag, scale):
    assert loras_in(f"a cat {tag}", "", ["a"]) == ([{"name": "a", "scale": scale}], [])


@pytest.mark.parametrize("tag", ["<lora:a:x>", "<lora:a:nan>", "<lora:a:1e9>", "<hypernet:a:1>", "<lora:../a:1>"])
def test_an_unusable_tag_is_a_warning(tag):
    chosen, [warning] = loras_in(f"a cat{tag}", "", ["a"])
    assert chosen == []
    assert "without adding a LoRA" in warning


def test_a_prompt_of_tags_alone_is_empty():
    assert native(txt2img(prompt="<lora:x:1>"))["prompt"] == " "
