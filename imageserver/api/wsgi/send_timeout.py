"""A client that takes nothing of its answer any more would keep it in memory for ever; the system hangs up on it."""

import errno
import logging
import socket

from flask import Flask, request

from imageserver.api.wsgi.disconnect import SOCKET_KEY

MILLISECONDS = 1000
SENTENCE = "A client took nothing of its answer for so long (SEND_TIMEOUT) that it was hung up on."


def register(app: Flask, seconds: float) -> None:
    """Let connections over which nothing can be sent for so long be ended, where the system can do that (Linux)."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None:
        return
    logging.getLogger("gunicorn.error").addFilter(_in_one_sentence)

    @app.before_request
    def bound() -> None:
        connection = request.environ.get(SOCKET_KEY)
        # A Unix socket, behind a proxy on the same machine, knows nothing of the kind.
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.IPPROTO_TCP, option, int(seconds * MILLISECONDS))


def is_stalled(error: object) -> bool:
    """Return whether an error is how the system hangs up on such a client."""
    return isinstance(error, OSError) and error.errno == errno.ETIMEDOUT


def _in_one_sentence(record: logging.LogRecord) -> bool:
    """Say in one sentence what gunicorn takes for a mistake of the server's."""
    if record.exc_info is not None and is_stalled(record.exc_info[1]):
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args, record.exc_info = SENTENCE, (), None
    return True
