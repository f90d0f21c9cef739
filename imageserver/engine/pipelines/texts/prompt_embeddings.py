"""Cache the embeddings of prompts; passing them to the pipeline is bit-equal to passing the text.

Negative prompts are pinned: nearly every request has the same one.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch

Encoded = tuple[torch.Tensor, ...]
Encode = Callable[[str], Encoded]


class EmbeddingCache:
    """The last `capacity` prompts, and up to as many pinned ones."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        # What decides the embeddings beside the text.
        self.scope: Hashable = ()
        self._entries: OrderedDict[Hashable, Encoded] = OrderedDict()
        self._pinned: OrderedDict[Hashable, Encoded] = OrderedDict()

    def get(self, text: str, encode: Encode, *, pinned: bool = False, weighted: bool = False) -> Encoded:
        """Return the result of `encode` for `text`, such as (embeddings, mask), each with a batch dimension of one.

        `weighted` says that the text's brackets are weights, not words.
        """
        key = (self.scope, weighted, text)
        for entries in (self._pinned, self._entries):
            if key in entries:
                entries.move_to_end(key)
                return entries[key]
        encoded = encode(text)
        entries = self._pinned if pinned else self._entries
        entries[key] = encoded
        if len(entries) > self._capacity:
            entries.popitem(last=False)
        return encoded
