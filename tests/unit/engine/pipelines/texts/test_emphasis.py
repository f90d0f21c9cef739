"""Brackets in prompts are read as AUTOMATIC1111 reads them."""

import pytest

from imageserver.engine.pipelines.texts.emphasis import pieces_of, without_weights


# The examples of `parse_prompt_attention` in stable-diffusion-webui 1.10, and what its rules make of further texts.
@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("normal text", [("normal text", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        (r"\(literal\]", [("(literal]", 1.0)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1.0), ("house", 1.5730000000000004), (" ", 1.1), ("on", 1.0), (" a ", 1.1), ("hill", 0.55),
                (", sun, ", 1.1), ("sky", 1.4641000000000006), (".", 1.1),
            ],
        ),
        ("", []),
        ("unbalanced) and]", [("unbalanced) and]", 1.0)]),
        ("time 12:30)", [("time 12:30)", 1.0)]),
        ("(a:-0.5)", [("a", -0.5)]),
        ("(a : 1.5 )", [("a ", 1.5)]),
        ("(a:1.2.3)", [("a:1.2.3)", 1.1)]),
        (r"a \\ b \ c", [("a \\ b  c", 1.0)]),
    ],
)  # fmt: skip
def test_a_prompt_is_cut_where_its_weights_change(text, pieces):
    assert pieces_of(text) == pieces
    assert without_weights(text) == "".join(piece for piece, _ in pieces)


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        (f"(a:{'9' * 400})", 100.0), (f"(a:-{'9' * 400})", -100.0), ("(" * 9000 + "a", 100.0),
        (f"((a:0):{'9' * 400})", 0.0), ("(a:101)", 100.0), ("(a:99)", 99.0),
    ],
)  # fmt: skip
def test_no_weight_is_beyond_what_numbers_can_hold(text, weight):
    assert pieces_of(text) == [("a", weight)]
