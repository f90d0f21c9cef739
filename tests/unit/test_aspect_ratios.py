"""The documented table of sizes."""

import pytest

from aspect_ratios import ASPECT_RATIOS, DEFAULT_ASPECT_RATIO, size_of

DOCUMENTED = {
    "s1:1": (512, 512), "m1:1": (512, 512), "1:1": (1328, 1328), "16:9": (1664, 928), "9:16": (928, 1664),
    "4:3": (1472, 1140), "3:4": (1140, 1472), "3:2": (1584, 1056), "2:3": (1056, 1584),
}  # fmt: skip


@pytest.mark.parametrize(("name", "size"), DOCUMENTED.items())
def test_every_documented_name_has_its_documented_size(name: str, size: tuple[int, int]) -> None:
    assert size_of(name) == size


def test_no_other_name_exists() -> None:
    assert list(ASPECT_RATIOS) == list(DOCUMENTED)
    with pytest.raises(KeyError):
        size_of("5:4")


def test_the_default_is_the_small_square() -> None:
    assert size_of(DEFAULT_ASPECT_RATIO) == (512, 512)
