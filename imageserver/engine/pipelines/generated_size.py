"""The size that an image is generated at: cropped, or enlarged, to the one asked for."""

import math


def generated_size(width: int, height: int, multiple: int, most_tokens: int | None) -> tuple[int, int]:
    """Return the next multiples of `multiple` pixels, or the largest of that shape with at most `most_tokens` squares.

    A model has no positions for more, and would generate nothing sensible there.
    """
    columns, rows = -(-width // multiple), -(-height // multiple)
    if most_tokens is not None and columns * rows > most_tokens:
        scale = math.sqrt(most_tokens / (columns * rows))
        # A strip may be longer than all tokens in one row.
        rows = max(1, min(most_tokens, int(rows * scale)))
        columns = max(1, min(most_tokens // rows, int(columns * scale)))
    return columns * multiple, rows * multiple
