"""While fifty clients send requests, the server's processes are replaced, and not one request fails."""

import os
import signal
import socket
import sys

import psutil

from tests.support.full_mode import needs_full_mode
from tests.support.server import GUNICORN, Server
from tests.support.steady_clients import SteadyClients


def masters_of(server: Server) -> set[int]:
    """Return gunicorn's main processes that have a worker."""
    processes = [process for process in server.processes() if "gunicorn" in process.cmdline()]
    parents = {process.ppid() for process in processes}
    return {process.pid for process in processes if process.pid in parents}


def test_a_reload_and_an_upgrade_drop_no_request_of_fifty_clients(own_servers, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(30)
        server = own_servers(MAX_QUEUE="100", NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert notified.recv(1000).startswith(b"READY=1"), "systemd would wait for ever"
    before = set(server.worker_pids())
    with SteadyClients(server) as clients:
        clients.wait_for_a_round()
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(lambda: not before & set(server.worker_pids()), "new workers", 60)
        clients.wait_for_a_round()
        assert set(clients.answers) == {"image"}, "after SIGHUP"
        server.process.send_signal(signal.SIGUSR2)
        server.wait_for(lambda: len(masters_of(server)) == 2, "a second main process", 60)
        [new] = masters_of(server) - {server.process.pid}
        clients.wait_for_a_round()
        server.stop()
        clients.wait_for_a_round()
    assert set(clients.answers) == {"image"}, "after SIGUSR2, then SIGTERM to the old main process"
    psutil.Process(new).terminate()
    psutil.wait_procs([psutil.Process(new)], 20)


@needs_full_mode
def test_a_restart_under_a_socket_of_systemd_lets_fifty_clients_wait_and_drops_none(own_servers):
    server = own_servers(
        command=[sys.executable, "-m", "tests.support.socket_unit", *GUNICORN], MAX_QUEUE="100",
    )  # fmt: skip
    [before] = server.worker_pids()
    with SteadyClients(server) as clients:
        clients.wait_for_a_round()
        os.kill(before, signal.SIGTERM)
        server.wait_for(lambda: before not in server.worker_pids(), "a new server", 60)
        clients.wait_for_a_round()
    assert set(clients.answers) == {"image"}
