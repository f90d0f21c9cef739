"""Canny's edges are thin, whole, and where they belong."""

import time

import numpy as np

from imageserver.imaging.control.canny import edges


def test_the_edge_of_a_square_is_one_closed_line() -> None:
    grey = np.zeros((40, 40), np.uint8)
    grey[10:30, 10:30] = 200
    found = edges(grey, 100, 200) > 0
    rows, columns = np.nonzero(found)
    assert (rows.min(), columns.min()) in {(9, 9), (10, 10)}
    assert (rows.max(), columns.max()) in {(29, 29), (30, 30)}
    assert not found[15:25, 15:25].any()
    # Each row and column in the middle meets it twice, in one pixel.
    assert (found[15:25].sum(axis=1) == 2).all()
    assert (found[:, 15:25].sum(axis=0) == 2).all()


def test_a_plain_image_and_a_soft_slope_have_none() -> None:
    assert not edges(np.full((20, 20), 128, np.uint8), 100, 200).any()
    slope = np.tile(np.arange(0, 200, 10, dtype=np.uint8), (20, 1))
    assert not edges(slope, 100, 200).any()


def test_a_weak_edge_counts_only_where_it_continues_a_strong_one() -> None:
    grey = np.zeros((40, 20), np.uint8)
    # Its gradient, four times the difference, falls from 240 to 120.
    grey[:, 10:] = np.linspace(60, 30, 40).astype(np.uint8)[:, None]
    assert (edges(grey, 100, 200) > 0).any(axis=1).all()
    assert not edges(grey, 100, 250).any()


def test_a_long_edge_is_followed_to_its_end() -> None:
    grey = np.zeros((3, 3000), np.uint8)
    grey[1:] = 40
    grey[1:, :4] = 90
    assert (edges(grey, 100, 200) > 0).any(axis=0).sum() > 2990


def spiral(side: int, band: int) -> np.ndarray:
    """Return an image of bands whose edges are one weak line from border to middle, strong where it begins."""
    grey = np.zeros((side, side), np.uint8)
    for inset in range(band, side // 2 - band, 2 * band):
        grey[inset : inset + band, inset - 2 * band if inset > band else 0 : side - inset] = 30
        grey[inset : side - inset, side - inset - band : side - inset] = 30
        grey[side - inset - band : side - inset, inset : side - inset] = 30
        grey[inset + 2 * band : side - inset, inset : inset + band] = 30
    grey[band : 2 * band, :band] = 90
    return grey


def test_an_edge_that_winds_through_all_of_the_image_is_followed_at_once() -> None:
    grey = spiral(512, 4)

    def seconds(high: int) -> float:
        began = time.perf_counter()
        edges(grey, 100, high)
        return time.perf_counter() - began

    assert (edges(grey, 100, 200) > 0)[240:272, 240:272].any()
    # Nothing is that strong, so there is nothing to follow.
    assert not edges(grey, 100, 600).any()
    assert min(seconds(200) for _ in range(3)) < 4 * min(seconds(600) for _ in range(3))
