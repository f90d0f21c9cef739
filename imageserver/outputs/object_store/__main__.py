"""Run a worker's store process: `python -m imageserver.outputs.object_store [SOCKET]`; it ends with that worker.

The first line of standard input is the key that questions must have, the second the settings as JSON. Once it listens
it writes a line: the TCP port where it was given no path of a socket.
"""

import contextlib
import logging
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

from imageserver.errors import ServiceError, StorageUnavailable
from imageserver.outputs.object_store.bucket import Bucket
from imageserver.outputs.object_store.keeper import RETRY_SECONDS, Keeper
from imageserver.outputs.object_store.messages import (
    Answer,
    Delete,
    Maintained,
    Question,
    Read,
    Refused,
    Save,
    Saved,
    decode_question,
)
from imageserver.protocol.channel import Channel
from imageserver.settings import Settings
from imageserver.telemetry.logs import configure_logging

logger = logging.getLogger(__name__)

# Of a connection that asks nothing.
QUESTION_SECONDS = 10.0
UNSENT_FOLDER = "unsent"


def main() -> None:
    """Answer questions until the worker is gone."""
    key = sys.stdin.readline().strip()
    settings = Settings.model_validate_json(sys.stdin.readline())
    configure_logging(settings)
    listener = _listen(sys.argv[1] if len(sys.argv) > 1 else None)
    keeper = Keeper(
        Bucket(settings.output_url),
        settings.resolve(settings.state_dir) / UNSENT_FOLDER,
        unsent_mb=settings.output_unsent_mb,
        max_mb=settings.tmp_max_mb,
        max_age=settings.tmp_max_age,
        redirects=settings.output_redirect,
    )
    threading.Thread(target=_end_with_worker, daemon=True).start()
    for work in (keeper.maintain, keeper.sweep):
        threading.Thread(target=repeat, args=(work, threading.Event()), daemon=True).start()
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, keeper, key), daemon=True).start()


def serve(connection: socket.socket, keeper: Keeper, key: str) -> None:
    """Answer the one question of a connection."""
    connection.settimeout(QUESTION_SECONDS)
    channel = Channel(connection, decode_question)
    with contextlib.closing(channel):
        try:
            received, data = channel.receive()
        except EOFError:
            return
        question = cast(Question, received)
        if secrets.compare_digest(question.key.encode(), key.encode()):
            answer, raw = answer_or_refuse(question, data, keeper)
            # The worker may have given up.
            with contextlib.suppress(OSError):
                channel.send(answer, raw)


def repeat(work: Callable[[], None], stop: threading.Event) -> None:
    """Do it every few seconds until `stop`, whatever happens."""
    while True:
        try:
            work()
        except Exception:
            logger.exception("Looking after the store of OUTPUT_URL failed; it is tried again.")
        if stop.wait(RETRY_SECONDS):
            return


def answer_or_refuse(question: Question, data: bytes, keeper: Keeper) -> tuple[Answer, bytes]:
    """Return the answer to a question and its bytes, whatever happens: silence would cost this process its life."""
    try:
        return answer_to(question, data, keeper)
    except ServiceError as error:
        failure = error
    except Exception:
        logger.exception("A question of the worker failed.")
        sentence = "The process that keeps saved images failed; the server's log has the details."
        failure = StorageUnavailable(sentence, retry_after=RETRY_SECONDS)
    return Refused(code=failure.code, sentence=failure.sentence, retry_after=failure.retry_after), b""


def answer_to(question: Question, data: bytes, keeper: Keeper) -> tuple[Answer, bytes]:
    """Return the answer to a question and its bytes; raises ServiceError."""
    match question:
        case Save():
            name = keeper.save(data, stem=question.stem, extension=question.extension)
            return Saved(name=name, obstacle=keeper.obstacle), b""
        case Read():
            return keeper.read(question.name, question.start, address_will_do=question.address_will_do)
        case Delete():
            keeper.delete(question.name)
            return Maintained(obstacle=keeper.obstacle), b""
        case _:
            return Maintained(obstacle=keeper.obstacle), b""


def _listen(path: str | None) -> socket.socket:
    if path is None:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    else:
        Path(path).unlink(missing_ok=True)
        listener, port = socket.socket(socket.AF_UNIX), 0
        listener.bind(path)
        listener.listen()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    return listener


def _end_with_worker() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
