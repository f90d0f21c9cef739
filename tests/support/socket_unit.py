"""Do what systemd does for a socket unit: listen on PORT, start a command that serves there, start it again if it ends.

`python -m tests.support.socket_unit COMMAND…`; SIGTERM ends both.
"""

import os
import signal
import socket
import subprocess
import sys

# The first descriptor that is handed over is always this one; the process that it is for is named by its id.
ACTIVATE = 'exec 3<&"$UNIT_SOCKET" && export LISTEN_PID=$$ LISTEN_FDS=1 && exec "$@"'


def main() -> int:
    """Serve until SIGTERM; return the last exit status of the command."""
    ended = False
    with socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=128) as listener:
        environment = os.environ | {"UNIT_SOCKET": str(listener.fileno())}

        def end(number: int, frame: object) -> None:
            nonlocal ended
            ended = True
            command.terminate()

        signal.signal(signal.SIGTERM, end)
        while True:
            command = subprocess.Popen(
                ["bash", "-c", ACTIVATE, "bash", *sys.argv[1:]], env=environment, pass_fds=[listener.fileno()]
            )
            status = command.wait()
            if ended:
                return status


if __name__ == "__main__":
    sys.exit(main())
