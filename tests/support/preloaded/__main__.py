"""`python -m tests.support.preloaded`, an engine module: has an engine forked, and stands for it until both end."""

import json
import os
import signal
import socket
import sys
from pathlib import Path

from imageserver.engine.torch_process import die_with_parent
from tests.support.preloaded.protocol import VARIABLE


def main() -> None:
    """Pass standard streams, variables and folder on, and end as the engine does."""
    die_with_parent()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(os.environ[VARIABLE])
    request = json.dumps({"environment": dict(os.environ), "folder": str(Path.cwd())}).encode()
    signal.signal(signal.SIGTERM, lambda number, frame: connection.send(bytes([number])))
    socket.send_fds(connection, [request], [0, 1, 2])
    answer = connection.recv(16)
    status = int(answer or b"1")
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main()
