"""Read a body to its end, in JSON and in forms alike."""

from typing import IO

from imageserver.api.wsgi.yielding import serve_others

# Shorter ones are copied in less than 1 ms.
LONG = 2**20


def read_whole(stream: IO[bytes]) -> bytes:
    """Return what is left of a body; raises werkzeug's 413 for one over the limit."""
    data = stream.read()
    # werkzeug cuts a chunked body off at the limit silently; only another read raises.
    stream.read(1)
    if len(data) > LONG:
        serve_others()
    return data
