"""How a family's denoiser calls merge into one forward; `engine/batching/batch.py` decides which do."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

Arguments = Mapping[str, Any]


class Merger(Protocol):
    """How a family's denoiser calls merge; without a merger they run one by one."""

    def shape_of(self, call: Arguments) -> Hashable:
        """Return the key that all calls of one forward must share."""

    def batch_size(self, call: Arguments) -> int:
        """Return the images of one call."""

    def text_length(self, call: Arguments) -> int:
        """Return the tokens of text, which may differ between calls at the cost of padding."""

    def token_count(self, call: Arguments) -> int:
        """Return the tokens of the image and its text, which decide the cost of a forward."""

    def merge(self, calls: Sequence[Arguments]) -> dict[str, Any]:
        """Return the arguments of one forward for all calls, in order."""


@runtime_checkable
class RowMerger(Merger, Protocol):
    """Also takes calls apart: some pipelines make one call of two rows for guidance."""

    def rows(self, call: Arguments) -> list[Arguments]:
        """Return a call for each image in this one; merged again they are the same call."""
