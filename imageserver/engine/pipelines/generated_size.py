"""The size that an image is generated at: cropped, or enlarged, to the one asked for."""

import math


def generated_size(width: int, height: int, multiple: int, max_tokens: int | None) -> tuple[int, int]:
    """Return the next multiples of `multiple` pixels, or the largest of that shape with at most `max_tokens` squares.

    A model has no positions for more tokens, and would generate noise there.
    """
    columns, rows = -(-width // multiple), -(-height // multiple)
    if max_tokens is not None and columns * rows > max_tokens:
        scale = math.sqrt(max_tokens / (columns * rows))
        # A strip may be longer than all tokens in one row.
        rows = max(1, min(max_tokens, int(rows * scale)))
        columns = max(1, min(max_tokens // rows, int(columns * scale)))
    return columns * multiple, rows * multiple
