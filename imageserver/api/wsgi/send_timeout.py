"""Close connections whose client stops reading its response, which would stay in memory forever."""

import errno
import logging
import socket

from flask import Flask, request

from imageserver.api.wsgi.disconnect import SOCKET_KEY

MILLISECONDS = 1000
SENTENCE = "A client stopped reading its response; the connection was closed (SEND_TIMEOUT)."


def register(app: Flask, seconds: float) -> None:
    """Let the system close connections that accept no data for `seconds`, where it can (Linux)."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None:
        return
    logging.getLogger("gunicorn.error").addFilter(_in_one_sentence)

    @app.before_request
    def bound() -> None:
        connection = request.environ.get(SOCKET_KEY)
        # A Unix socket, behind a local proxy, has no such option.
        if connection is not None and connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.IPPROTO_TCP, option, int(seconds * MILLISECONDS))


def is_stalled(error: object) -> bool:
    """Return whether an error means that the system closed such a connection."""
    return isinstance(error, OSError) and error.errno == errno.ETIMEDOUT


def _in_one_sentence(record: logging.LogRecord) -> bool:
    """Replace the traceback that gunicorn would log by one sentence."""
    if record.exc_info is not None and is_stalled(record.exc_info[1]):
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args, record.exc_info = SENTENCE, (), None
    return True
