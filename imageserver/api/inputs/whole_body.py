"""Read a body to its end, in JSON and in forms alike."""

from typing import IO


def read_whole(stream: IO[bytes]) -> bytes:
    """Return what is left of a body; raises werkzeug's 413 for one over the limit."""
    data = stream.read()
    # werkzeug cuts a chunked body off at the limit silently; only another read raises.
    stream.read(1)
    return data
