"""A machine with other software is refused with one sentence that says what differs."""

import pytest

from imageserver.cluster.versions import PROJECT, difference, versions

HERE = {"python": "3.11", PROJECT: "0.1.0 (code aaaaaaaa)", "diffusers": "0.42.1"}


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        ({}, None),
        ({"torch": "2.13.0"}, None),
        (
            {"diffusers": "0.41.0"},
            "The machine 10.0.0.7 has diffusers 0.41.0, this one 0.42.1: install the same requirements there.",
        ),
        (
            {"python": "3.12"},
            (
                "The machine 10.0.0.7 has python 3.12, this one 3.11: delete .venv there, and put PYTHON=python3.11 "
                "before the line that starts it, once."
            ),
        ),
        (
            {PROJECT: "0.1.0 (code bbbbbbbb)"},
            f"The machine 10.0.0.7 has {PROJECT} 0.1.0 (code bbbbbbbb), this one 0.1.0 (code aaaaaaaa): update it.",
        ),
    ],
)
def test_a_difference_is_one_sentence(there, sentence):
    assert difference(HERE, HERE | there, "10.0.0.7") == sentence


def test_a_package_that_is_missing_there_is_a_difference_too():
    there = {name: found for name, found in HERE.items() if name != "diffusers"}
    assert difference(HERE, there, "10.0.0.7") == (
        "The machine 10.0.0.7 has no diffusers, this one 0.42.1: install the same requirements there."
    )


def test_a_machine_with_the_same_software_does_not_differ_from_itself():
    assert difference(versions(), versions(), "10.0.0.7") is None
    assert {"python", PROJECT, "msgspec"} <= versions().keys()


def test_a_front_without_torch_accepts_machines_that_have_it():
    front = {name: found for name, found in versions().items() if name in ("python", PROJECT, "msgspec")}
    assert difference(front, versions(), "10.0.0.7") is None
