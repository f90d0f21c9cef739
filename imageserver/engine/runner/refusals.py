"""The sentences about refused LoRA files, by the digests of their contents."""

from collections import OrderedDict

from imageserver.engine.lora_formats.refused import LoraRefused

# A file whose sentence was forgotten is read once more.
MAX_REFUSED = 64


class Refusals:
    """Sentences, not exceptions: each of those holds the frames, and with them the tensors, of what was read."""

    def __init__(self) -> None:
        self._sentences: OrderedDict[str, str] = OrderedDict()

    def add(self, digest: str, sentence: str) -> None:
        self._sentences[digest] = sentence
        while len(self._sentences) > MAX_REFUSED:
            self._sentences.popitem(last=False)

    def clear(self) -> None:
        self._sentences.clear()

    def raise_for(self, digest: str) -> None:
        """Raise LoraRefused for a refused content."""
        if digest in self._sentences:
            raise LoraRefused(self._sentences[digest])
