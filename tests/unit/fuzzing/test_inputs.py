"""What fuzzing begins with, and every input that a parser once did not survive, is refused or read."""

import pytest

from tests.fuzzing.parsers import PARSERS
from tests.support.paths import ROOT

INPUTS = ROOT / "tests" / "fuzzing" / "inputs"


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_survives_the_inputs_that_are_kept(name: str) -> None:
    for data in (*PARSERS[name].seeds, *(file.read_bytes() for file in INPUTS.glob(f"{name}-*"))):
        PARSERS[name].feed(data)


def test_every_input_that_is_kept_belongs_to_a_parser() -> None:
    assert {file.name.partition("-")[0] for file in INPUTS.glob("*-*")} <= set(PARSERS)
