"""Run a worker's store process: `python -m imageserver.outputs.object_store [SOCKET]`; it ends with that worker.

The first line of standard input is the key that questions must have, the second the settings as JSON. Once it listens
it writes a line: the TCP port where it was given no path of a socket.
"""

import contextlib
import os
import secrets
import socket
import sys
import threading
from pathlib import Path
from typing import cast

from imageserver.errors import ServiceError
from imageserver.outputs.object_store.bucket import Bucket
from imageserver.outputs.object_store.keeper import Keeper
from imageserver.outputs.object_store.messages import (
    Answer,
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
    threading.Thread(target=keeper.maintain_forever, args=(threading.Event(),), daemon=True).start()
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, keeper, key), daemon=True).start()


def serve(connection: socket.socket, keeper: Keeper, key: str) -> None:
    """Answer the one question of a connection."""
    connection.settimeout(QUESTION_SECONDS)
    channel = Channel(connection, decode_question)
    # The worker may have given up.
    with contextlib.suppress(OSError, EOFError), contextlib.closing(channel):
        received, data = channel.receive()
        question = cast(Question, received)
        if secrets.compare_digest(question.key.encode(), key.encode()):
            try:
                answer, raw = answer_to(question, data, keeper)
            except ServiceError as error:
                answer, raw = Refused(code=error.code, sentence=error.sentence, retry_after=error.retry_after), b""
            channel.send(answer, raw)


def answer_to(question: Question, data: bytes, keeper: Keeper) -> tuple[Answer, bytes]:
    """Return the answer to a question and its bytes; raises ServiceError."""
    match question:
        case Save():
            name = keeper.save(data, stem=question.stem, extension=question.extension)
            return Saved(name=name, obstacle=keeper.obstacle), b""
        case Read():
            return keeper.read(question.name, question.start, address_will_do=question.address_will_do)
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
