"""A preprocessor changes the pixels of a control image, and nothing else about it."""

import numpy as np
import pytest

from imageserver.imaging.control.preprocessors import PREPROCESSORS, preprocessed

GIVEN = np.random.default_rng(0).integers(0, 256, (8, 16, 3), np.uint8)


@pytest.mark.parametrize("name", sorted(PREPROCESSORS))
def test_the_size_stays(name: str) -> None:
    assert len(preprocessed(name, 16, 8, GIVEN.tobytes())) == 8 * 16 * 3


def test_a_negative_is_a_negative() -> None:
    found = np.frombuffer(preprocessed("invert", 16, 8, GIVEN.tobytes()), np.uint8).reshape(8, 16, 3)
    assert (found == 255 - GIVEN).all()
