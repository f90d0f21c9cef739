"""While clients generate, the machines of a cluster are replaced one after another, and then its version."""

import os
import shlex
import signal
import sys

import pytest

from tests.support.full_mode import needs_full_mode
from tests.support.ray_cluster import ADDRESSES, Cluster, JoinedMachine
from tests.support.server import GUNICORN
from tests.support.steady_clients import SteadyClients

pytestmark = [
    pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(400), needs_full_mode,
    pytest.mark.skipif(sys.platform != "linux", reason="Ray nodes are started on Linux"),
]  # fmt: skip

CLIENTS = 4
# Requests wait at the port while the server starts again, with its node and its dispatcher.
RESTART_SECONDS = 120.0


def test_machines_that_are_replaced_one_after_another_cost_no_client_its_image(tmp_path):
    cluster = Cluster(tmp_path)
    try:
        cluster.heal()
        with SteadyClients(cluster.server, CLIENTS) as clients:
            for machine in cluster.machines:
                clients.wait_for_a_round()
                machine.leave()
                clients.wait_for_a_round()
                machine.start()
                cluster.server.wait_for(lambda: cluster.engines_ready() == 2, "the engine of the new machine", 60)
            clients.wait_for_a_round()
        assert set(clients.answers) == {"image"}
    finally:
        cluster.stop()


@pytest.fixture
def next_version(tmp_path):
    """A folder for PYTHONPATH in which a requirement has another version, so far as anybody asks for it.

    Not a copy of the project: on one computer Ray would import that of the server on all machines.
    """
    described = tmp_path / "next" / "msgspec-99.dist-info" / "METADATA"
    described.parent.mkdir(parents=True)
    described.write_text("Metadata-Version: 2.1\nName: msgspec\nVersion: 99\n")
    return tmp_path / "next"


def test_a_new_version_reaches_a_machine_then_the_server_then_the_others_and_no_client_notices(tmp_path, next_version):
    current = tmp_path / "current"
    current.symlink_to(tmp_path)
    start = f"PYTHONPATH=$(realpath {shlex.quote(str(current))}) exec {shlex.join(GUNICORN)}"
    cluster = Cluster(tmp_path, command=[sys.executable, "-m", "tests.support.socket_unit", "bash", "-c", start])
    first, second = cluster.machines
    try:
        cluster.heal()
        with SteadyClients(cluster.server, CLIENTS) as clients:
            clients.wait_for_a_round()
            second.leave()
            second.environment["PYTHONPATH"] = str(next_version)
            second.start()
            cluster.server.wait_for(lambda: "has msgspec 99, this one" in cluster.server.log, "the refusal", 60)
            current.unlink()
            current.symlink_to(next_version)
            [server] = cluster.server.worker_pids()
            os.kill(server, signal.SIGTERM)
            cluster.server.wait_for(lambda: server not in cluster.server.worker_pids(), "the new server", 60)
            clients.wait_for_a_round(RESTART_SECONDS)
            jobs = cluster.server.get("/v1/jobs").json()["data"]
            newest = next(job for job in jobs if job["state"] == "completed")
            assert newest["device"].startswith(second.address)
            first.leave()
            first.environment["PYTHONPATH"] = str(next_version)
            first.start()
            cluster.server.wait_for(lambda: cluster.engines_ready() == 2, "both machines", 60)
            clients.wait_for_a_round()
        assert set(clients.answers) == {"image"}
    finally:
        cluster.stop()


def test_a_machine_with_another_version_keeps_no_place_from_one_that_joins_later(tmp_path, next_version):
    cluster = Cluster(tmp_path, machines=0, MAX_ENGINES="1")
    try:
        refused = JoinedMachine(tmp_path, ADDRESSES[0], cluster.head, PYTHONPATH=str(next_version))
        cluster.machines.append(refused)
        cluster.server.wait_for(lambda: "has msgspec 99, this one" in cluster.server.log, "the refusal", 60)
        good = JoinedMachine(tmp_path, ADDRESSES[1], cluster.head)
        cluster.machines.append(good)
        cluster.server.wait_for(lambda: cluster.free_seats() == 1, "the engine of the good machine", 60)
        assert cluster.server.generate("a cat").status_code == 200
        assert cluster.newest_job()["device"] == f"{good.address} cpu"
        refused.leave()
        del refused.environment["PYTHONPATH"]
        refused.start()
        good.leave()
        cluster.server.wait_for(lambda: cluster.free_seats() == 1, "the engine of the other one", 60)
        assert cluster.server.generate("a dog").status_code == 200
        assert cluster.newest_job()["device"] == f"{refused.address} cpu"
    finally:
        cluster.stop()
