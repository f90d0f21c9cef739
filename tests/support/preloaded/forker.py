"""`python -m tests.support.preloaded.forker SOCKET`: imports what an engine needs, then forks one for each caller."""

import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from imageserver.engine import __main__ as engine
from imageserver.engine.torch_process import die_with_parent, prepare_environment
from tests.support.preloaded.protocol import MAX_REQUEST_BYTES


def main(path: str) -> None:
    """Fork for ever."""
    listener = prepare(path)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _supervise(connection)
        connection.close()


def prepare(path: str) -> socket.socket:
    """Import what an engine needs, and return the listener.

    With one thread and no child that is waited for, every fork finds the same process.
    """
    die_with_parent()
    prepare_environment()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(f"{path}.new")
    listener.listen(64)
    # Whoever sees it can connect, and waits for the imports like everybody else.
    Path(f"{path}.new").rename(path)
    import_all()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    return listener


def import_all() -> None:
    """Import what the engine imports after its first message, and the pipelines that most tests load."""
    import diffusers
    import transformers

    import imageserver.engine.models.initial_model
    import imageserver.engine.models.load_queue
    import imageserver.engine.models.lora_queue  # noqa: F401

    for name in ("QwenImagePipeline", "StableDiffusionPipeline", "FluxPipeline"):
        getattr(diffusers, name)
    for name in ("Qwen2_5_VLForConditionalGeneration", "Qwen2Tokenizer"):
        getattr(transformers, name)


def _supervise(connection: socket.socket) -> None:
    """Run the engine in a process of its own, pass signals on to it, and its status back; never returns."""
    request, streams, _, _ = socket.recv_fds(connection, MAX_REQUEST_BYTES, 3)
    pid = os.fork()
    if pid == 0:
        connection.close()
        _become_engine(json.loads(request), streams)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(pid)
    while True:
        ready, _, _ = select.select([ended, connection], [], [])
        if ended in ready:
            _, status = os.waitpid(pid, 0)
            connection.send(str(os.waitstatus_to_exitcode(status)).encode())
            os._exit(0)
        # Nothing is sent by one that has ended: then the engine has nobody left.
        number = (connection.recv(1) or bytes([signal.SIGKILL]))[0]
        os.kill(pid, number)


def _become_engine(request: dict[str, Any], streams: list[int]) -> None:
    status = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        engine.main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1])
