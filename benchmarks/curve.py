"""What one forward of the full Qwen-Image costs on an H200, after the published figures.

At 512 x 512 they are seconds by batch size. For larger images they only say that three of 1024 x 1024 in one forward
generate 1.02 times as many per second as one. We read the rest from the tokens: an image of 1024 x 1024 has as many as
four of 512 x 512 and costs as much as those four in one forward (0.240 s). So sizes in between profit from a batch as
far as their tokens leave room on the curve; from 1024 x 1024 up a batch gains the published 2 % and no more.
"""

from bisect import bisect_left

# (batch, seconds) at 512 x 512.
POINTS = ((1, 0.167), (2, 0.183), (3, 0.186), (4, 0.240), (8, 0.425), (16, 0.832))
PIXELS = 512 * 512
FULL_FROM = 1024 * 1024
GAIN_WHEN_FULL = 1.02
BATCH_OF_FULL_GAIN = 3


def seconds_at_512(batch: float) -> float:
    """Return the seconds of a forward with `batch` images of 512 x 512: linear between and beyond the points."""
    if batch <= POINTS[0][0]:
        return POINTS[0][1]
    index = min(max(1, bisect_left([point[0] for point in POINTS], batch)), len(POINTS) - 1)
    (left, low), (right, high) = POINTS[index - 1], POINTS[index]
    return low + (high - low) * (batch - left) / (right - left)


def forward_seconds(pixels: int, batch: int) -> float:
    """Return the seconds of a forward with `batch` images of `pixels` each."""
    equivalents = pixels / PIXELS
    if pixels < FULL_FROM:
        return seconds_at_512(equivalents * batch)
    gain = 1 + (GAIN_WHEN_FULL - 1) * min(1.0, (batch - 1) / (BATCH_OF_FULL_GAIN - 1))
    return seconds_at_512(equivalents) * batch / gain
