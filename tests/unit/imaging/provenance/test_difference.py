"""Two images are compared pixel by pixel."""

import numpy as np

from imageserver.imaging.decoding import Pixels
from imageserver.imaging.provenance.difference import Difference, difference_of


def pixels(values):
    return Pixels(values.shape[1], values.shape[0], values.astype(np.uint8).tobytes())


def test_equal_images_do_not_differ():
    assert difference_of(pixels(np.ones((4, 6, 3))), pixels(np.ones((4, 6, 3)))) == Difference()


def test_it_says_how_much_differs_and_where_in_either_order():
    one, other = np.zeros((4, 6, 3)), np.zeros((4, 6, 3))
    other[1, 2], other[2, 4, 1] = 1, 250
    for first, second in ((one, other), (other, one)):
        found = difference_of(pixels(first), pixels(second))
        assert (found.largest, found.share, found.box) == (250, 2 / 24, (2, 1, 5, 3))
