"""The weights in a prompt: `(word)`, `[word]`, `(word:1.2)`, and brackets that are meant as such after a backslash.

Source: stable-diffusion-webui 1.10, `parse_prompt_attention` of `modules/prompt_parser.py`.
"""

import re

import numpy as np
from numpy.typing import NDArray

MARK = re.compile(r"\\[()\[\]\\]|\\|\(|\[|:\s*([+-]?[.\d]+)\s*\)|\)|\]|[^\\()\[\]:]+|:")
ROUND, SQUARE = 1.1, 1 / 1.1
# Beyond any use; nested brackets reach infinity, which makes an image of nothing but errors.
MAX_WEIGHT = 100.0

# A part of a prompt, and the weight of its words.
Piece = tuple[str, float]


# What is beyond numbers is limited in the end.
@np.errstate(over="ignore", invalid="ignore")
def pieces_of(text: str) -> list[Piece]:
    """Return the parts of a prompt without their brackets; neighbours of one weight are one part."""
    texts: list[str] = []
    # An array: ten thousand brackets change every weight before them.
    weights = np.ones(len(text) + 1)
    opened: dict[str, list[int]] = {"(": [], "[": []}
    for match in MARK.finditer(text):
        mark, weight = match[0], _number(match[1])
        if mark in opened:
            opened[mark].append(len(texts))
        elif weight is not None and opened["("]:
            weights[opened["("].pop() : len(texts)] *= weight
        elif mark == ")" and opened["("]:
            weights[opened["("].pop() : len(texts)] *= ROUND
        elif mark == "]" and opened["["]:
            weights[opened["["].pop() : len(texts)] *= SQUARE
        else:
            texts.append(mark.removeprefix("\\"))
    for bracket, factor in (("(", ROUND), ("[", SQUARE)):
        for start in opened[bracket]:
            weights[start : len(texts)] *= factor
    return _joined(texts, _limited(weights[: len(texts)]).tolist())


def without_weights(text: str) -> str:
    """Return a prompt as its words."""
    return "".join(piece for piece, _ in pieces_of(text))


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        # Such as 1.2.3.
        return None


def _limited(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    # Infinity times zero has no value: as 0, it is as if the words were not there.
    return np.nan_to_num(weights, nan=0.0).clip(-MAX_WEIGHT, MAX_WEIGHT)


def _joined(texts: list[str], weights: list[float]) -> list[Piece]:
    joined: list[tuple[list[str], float]] = []
    for text, weight in zip(texts, weights, strict=True):
        if joined and joined[-1][1] == weight:
            joined[-1][0].append(text)
        else:
            joined.append(([text], weight))
    return [("".join(parts), weight) for parts, weight in joined]
