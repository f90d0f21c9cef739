"""What LoRA files contain, read on any thread, until the model takes it: once for all who ask for a file.

Whoever adds one has the model take it at once: nothing here is dropped for others, which would have it read again.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from weakref import WeakValueDictionary

from imageserver.engine.lora_formats.adapter import Reserve
from imageserver.engine.lora_formats.part_adapter import PartAdapter
from imageserver.engine.lora_formats.refused import LoraRefused
from imageserver.engine.runner.refusals import Refusals
from imageserver.lora_folder import LoraFile

Content = Mapping[str, PartAdapter]


class ReadLoras:
    """The contents that wait, and the sentences about refused ones, by the digests of their files."""

    def __init__(self, read: Callable[[LoraFile, Reserve], Content], is_loaded: Callable[[str], bool]) -> None:
        """`read` reads a file or raises LoraRefused; what `is_loaded` by then is not kept."""
        self._read = read
        self._is_loaded = is_loaded
        self._waiting: dict[str, Content] = {}
        self._refused, self._not_installed = Refusals(), Refusals()
        self._changing = threading.Lock()
        self._reading: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()

    def add(self, file: LoraFile, reserve: Reserve = nullcontext) -> None:
        """Read a file unless it waits already or is loaded; whoever asks while it is being read waits for the end.

        Raises LoraRefused, for a content that was refused before without reading it again.
        """
        with self._changing:
            reading = self._reading.setdefault(file.digest, threading.Lock())
        with reading:
            if not self._is_wanted(file.digest):
                return
            try:
                content = self._read(file, reserve)
            except LoraRefused as error:
                with self._changing:
                    self._refused.add(file.digest, str(error))
                raise
            with self._changing:
                # Another image may have loaded it meanwhile, and nobody would take this copy.
                if not self._is_loaded(file.digest):
                    self._waiting[file.digest] = content

    def get(self, digest: str) -> Content | None:
        """Return what waits for the model; None where it has not been read.

        It waits until `drop`: until it is loaded, another thread would read it again.
        Raises LoraRefused for what has been read and refused.
        """
        with self._changing:
            self._raise_refusal(digest)
            return self._waiting.get(digest)

    def drop(self, digest: str) -> None:
        """Keep what waits for the model no longer: it has it, or cannot take it."""
        with self._changing:
            self._waiting.pop(digest, None)

    def refuse(self, digest: str, sentence: str) -> None:
        """Refuse a content that the model did not take, without reading it again until `retry_refused`."""
        with self._changing:
            self._not_installed.add(digest, sentence)

    def retry_refused(self) -> None:
        """Let the model try again what it did not take: something else on it has changed."""
        with self._changing:
            self._not_installed.clear()

    def _is_wanted(self, digest: str) -> bool:
        with self._changing:
            self._raise_refusal(digest)
            return digest not in self._waiting and not self._is_loaded(digest)

    def _raise_refusal(self, digest: str) -> None:
        if not self._is_loaded(digest):
            self._refused.raise_for(digest)
            self._not_installed.raise_for(digest)
