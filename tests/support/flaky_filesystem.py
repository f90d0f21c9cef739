"""A filesystem of fsspec in memory, which can be away: `flaky://` in the process that imports this."""

import fsspec
from fsspec.implementations.memory import MemoryFileSystem

OPERATIONS = ("pipe_file", "cat_file", "info", "ls")


class FlakyFileSystem(MemoryFileSystem):
    """Raises `error` instead of doing what is named in `fails`, while there is one; `calls` are what was asked."""

    protocol = "flaky"
    store: dict = {}
    pseudo_dirs = [""]
    error: Exception | None = None
    fails = OPERATIONS
    # What is done before it fails, as when an answer is lost.
    does_it_first = False
    calls: list[str] = []

    @classmethod
    def reset(cls) -> None:
        cls.store.clear()
        cls.calls.clear()
        cls.error, cls.fails, cls.does_it_first = None, OPERATIONS, False

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.removeprefix("flaky://").strip("/")

    def _try(self, operation, *args, **options):
        self.calls.append(operation)
        fails = self.error is not None and operation in self.fails
        if fails and not self.does_it_first:
            raise self.error
        result = getattr(super(), operation)(*args, **options)
        if fails:
            raise self.error
        return result

    def pipe_file(self, *args, **options):
        return self._try("pipe_file", *args, **options)

    def cat_file(self, *args, **options):
        return self._try("cat_file", *args, **options)

    def info(self, *args, **options):
        return self._try("info", *args, **options)

    def ls(self, *args, **options):
        return self._try("ls", *args, **options)


fsspec.register_implementation("flaky", FlakyFileSystem)
