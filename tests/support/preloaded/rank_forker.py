"""`python -m tests.support.preloaded.rank_forker SOCKET`: imports what a rank needs, then forks one for each caller."""

import fcntl
import json
import os
import runpy
import signal
import socket
import sys
from collections.abc import Sequence

from tests.support.preloaded.forker import prepare
from tests.support.preloaded.protocol import MAX_DESCRIPTORS, MAX_REQUEST_BYTES


def main(path: str) -> None:
    """Fork for ever, and answer each caller with the number of its process."""
    listener = prepare(path)
    import imageserver.engine.rank.denoisers
    import imageserver.engine.rank.rank_server  # noqa: F401
    import tests.support.fake_denoisers  # noqa: F401

    while True:
        connection, _ = listener.accept()
        request, received, _, _ = socket.recv_fds(connection, MAX_REQUEST_BYTES, MAX_DESCRIPTORS)
        pid = os.fork()
        if pid == 0:
            listener.close()
            connection.close()
            wanted = json.loads(request)
            _become_rank(wanted["module"], wanted["numbers"], received)
        for descriptor in received:
            os.close(descriptor)
        connection.send(str(pid).encode())
        connection.close()


def _become_rank(module: str, numbers: Sequence[int], received: Sequence[int]) -> None:
    """Run a module with the descriptors under the numbers that its parent gave them; never returns."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # First above all of these numbers, for one may be another's.
        above = max(*numbers, *received) + 1
        apart = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, above) for descriptor in received]
        for descriptor in received:
            os.close(descriptor)
        for descriptor, number in zip(apart, numbers, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1])
