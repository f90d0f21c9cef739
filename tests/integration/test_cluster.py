"""Engines on other machines, with real Ray on loopback addresses: whatever breaks, clients get their images once."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
import requests

from imageserver.cluster.nodes.own_node import NO_SUCCESSOR
from tests.support import tiny_models
from tests.support.dialects import DIALECTS
from tests.support.fake_hub import FakeHub
from tests.support.full_mode import needs_full_mode
from tests.support.paths import ROOT
from tests.support.ray_cluster import ADDRESSES, HEAD_ADDRESS, TOKEN, Cluster, JoinedMachine
from tests.support.server import GUNICORN, SMALL_IMAGES, Server, free_port, in_background, refused_start
from tests.support.tiny_loras import save_lora

pytestmark = [pytest.mark.alone, pytest.mark.skipif(sys.platform != "linux", reason="Ray nodes are started on Linux")]

# An image of 4 s.
SLOW = {"prompt": "[step=0.1] a red circle", "num_inference_steps": 40}
SLOW_SECONDS = 4.0


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.stop()
    assert not cluster.server.leftovers(), cluster.server.log


@pytest.fixture
def cluster(shared_cluster) -> Iterator[Cluster]:
    """The cluster that all tests share, whole; no test may make its server write a traceback."""
    shared_cluster.heal()
    shared_cluster.server.read_new_log()
    yield shared_cluster
    assert "Traceback" not in shared_cluster.server.read_new_log()


def test_an_engine_on_another_machine_serves_as_one_here(cluster):
    answer = cluster.server.generate("a cat", seed=9)
    assert answer.status_code == 200
    assert re.search(r"The engine starts on 127\.0\.0\.[34] cpu\.", cluster.server.log)
    assert f"CLUSTER_TOKEN={TOKEN} bash start_server.sh --join {cluster.head}" in cluster.server.log
    assert cluster.newest_job()["device"] in ("127.0.0.3 cpu", "127.0.0.4 cpu")


def test_every_dialect_is_served_from_another_machine(cluster, subtests):
    for dialect in DIALECTS:
        with subtests.test(dialect.name):
            assert dialect.ask(cluster.server, f"far away in {dialect.name}").status_code == 200
            job = cluster.newest_job()
            assert (job["state"], job["device"]) in [("completed", f"{address} cpu") for address in ADDRESSES]


def test_previews_and_estimates_come_from_another_machine(cluster):
    wanted = {"prompt": "three small words", "size": "64x64", "num_inference_steps": 6, "cache": False}
    streamed = wanted | {"stream": True, "partial_images": 2}
    answer = cluster.server.ask("POST", "/v1/images/generations", json=streamed, timeout=20)
    events = re.findall(r"^event: image_generation\.(\w+)", answer.text, re.MULTILINE)
    assert events == ["partial_image", "partial_image", "completed"]
    # Its engine alone can count them.
    estimate = cluster.server.ask("POST", "/v1/estimate", json=wanted, timeout=20).json()
    assert (estimate["prompt_tokens"], estimate["learnt"]) == (len(estimate["prompt"].split()), True)


def test_a_cancelled_generation_stops_on_the_other_machine(cluster):
    running = cluster.server.start_generating(**SLOW | {"num_inference_steps": 150})
    cluster.busy_machine()
    number = cluster.newest_job()["id"]
    cluster.server.ask("DELETE", f"/v1/jobs/{number}")
    assert running.result(5).status_code == 499
    assert cluster.server.generate("the next one").status_code == 200


@pytest.mark.fault(34)
def test_a_machine_that_dies_loses_no_image(cluster):
    running = cluster.server.start_generating(**SLOW)
    machine = cluster.busy_machine()
    died = time.monotonic()
    machine.kill()
    answer = running.result(30)
    assert answer.status_code == 200
    assert time.monotonic() - died < 10 + SLOW_SECONDS
    assert cluster.server.generate("the next one").status_code == 200


@pytest.mark.fault(49)
@pytest.mark.parametrize(
    ("seconds", "engine_goes_on"),
    [
        (12.0, False),
        pytest.param(20.0, False, marks=needs_full_mode),
        # Its image is finished meanwhile, and its words are sent when the machine wakes up.
        pytest.param(20.0, True, marks=needs_full_mode),
    ],
)
def test_a_machine_that_freezes_is_given_up_and_what_it_says_when_it_wakes_up_is_no_second_image(
    cluster, seconds, engine_goes_on
):
    before = cluster.images()
    running = cluster.server.start_generating(**SLOW)
    machine, request = cluster.busy_machine(), cluster.newest_job()["id"]
    engine = machine.engines()[0]
    machine.signal_node(signal.SIGSTOP, spared=engine if engine_goes_on else None)
    froze = time.monotonic()
    try:
        assert running.result(30).status_code == 200
        assert time.monotonic() - froze < 6 + 10 + SLOW_SECONDS
    finally:
        time.sleep(max(0.0, froze + seconds - time.monotonic()))
        machine.signal_node(signal.SIGCONT)
    assert psutil.wait_procs([engine], timeout=5)[1] == []
    assert cluster.server.generate("the next one").status_code == 200
    cluster.server.wait_for(lambda: cluster.images() >= before + 2, "both images to be counted")
    assert (cluster.answers_to(request), cluster.images()) == (1, before + 2)


def test_an_engine_that_freezes_on_another_machine_is_replaced(cluster):
    running = cluster.server.start_generating(**SLOW)
    engine = cluster.busy_machine().engines()[0]
    engine.suspend()
    assert running.result(30).status_code == 504
    assert psutil.wait_procs([engine], timeout=5)[1] == []
    assert cluster.server.generate("the next one").status_code == 200


def test_an_engine_whose_holder_freezes_here_is_no_orphan_there(cluster):
    engines = [engine for machine in cluster.machines for engine in machine.engines()]
    frozen = cluster.stand_ins()
    for process in frozen:
        process.suspend()
    try:
        assert psutil.wait_procs(engines, timeout=10)[1] == []
    finally:
        for process in frozen:
            with contextlib.suppress(psutil.NoSuchProcess):  # on a busy machine it may be replaced already
                process.resume()
    assert cluster.server.generate("the next one").status_code == 200


def test_a_machine_that_leaves_finishes_its_images_first(cluster):
    running = cluster.server.start_generating(**SLOW)
    machine = cluster.busy_machine()
    machine.leave()
    assert running.done()
    assert running.result(1).status_code == 200
    assert machine.process.returncode == 0
    assert cluster.server.generate("the next one").status_code == 200


def test_an_upgrade_beside_the_node_that_runs_is_refused_with_one_sentence_and_harms_nothing(cluster):
    cluster.server.process.send_signal(signal.SIGUSR2)
    cluster.server.wait_for(lambda: NO_SUCCESSOR in cluster.server.log, "the refusal")
    assert "is in use" not in cluster.server.log
    assert cluster.server.generate("the next one").status_code == 200
    cluster.server.wait_for(lambda: cluster.free_seats() == 2, "both seats")


def test_a_machine_with_another_token_is_refused_with_one_sentence(cluster, tmp_path):
    stranger = JoinedMachine(tmp_path, "127.0.0.5", cluster.head, CLUSTER_TOKEN="another token")
    try:
        assert stranger.process.wait(60) == 1
        [sentence] = stranger.log.strip().splitlines()
    finally:
        stranger.kill()
    assert sentence == (
        f"The cluster at {cluster.head} cannot be joined: it has another token: CLUSTER_TOKEN must be the one that "
        "its first machine has printed."
    )


def test_a_second_head_on_the_same_port_is_refused_with_one_sentence(cluster, tmp_path):
    sentence = refused_start(GUNICORN, tmp_path, **cluster.settings)
    assert sentence.startswith(f"Port {cluster.port} is in use, perhaps by another head: CLUSTER={cluster.head} joins")


def test_a_cluster_without_its_token_is_refused_with_one_sentence(tmp_path):
    sentence = refused_start(GUNICORN, tmp_path, CLUSTER="127.0.0.2:6379", CLUSTER_TOKEN="")
    assert sentence == "The cluster at 127.0.0.2:6379 asks for its token: set CLUSTER_TOKEN to the one it has."


@pytest.mark.slow
@needs_full_mode
def test_a_machine_that_is_started_later_serves_those_who_have_waited_for_it(tmp_path):
    cluster = Cluster(tmp_path, machines=0, SCALE_UP_WAIT="1", MAX_ENGINES="1")
    try:
        waiting = [cluster.server.start_generating("a cat", model=model) for model in ("auto", "demo")]
        cluster.server.wait_for(lambda: cluster.server.health()["queue_length"] == 2, "a queue")
        cluster.machines.append(JoinedMachine(tmp_path, "127.0.0.3", cluster.head))
        assert [answer.result(60).status_code for answer in waiting] == [200, 200]
    finally:
        cluster.stop()


@pytest.mark.slow
@needs_full_mode
def test_a_machine_whose_engine_fails_says_why_and_keeps_no_place_from_one_that_joins_later(tmp_path):
    cluster = Cluster(tmp_path, machines=0, MAX_ENGINES="1")
    try:
        broken = JoinedMachine(tmp_path, ADDRESSES[0], cluster.head, FAKE_LOAD_FAIL="The card is broken.")
        cluster.machines.append(broken)
        cluster.server.wait_for(lambda: cluster.server.health()["status"] == "degraded", "the failure", 60)
        refusal = cluster.server.generate("a cat")
        assert (refusal.status_code, "The card is broken." in refusal.text) == (503, True)
        good = JoinedMachine(tmp_path, ADDRESSES[1], cluster.head)
        cluster.machines.append(good)
        cluster.server.wait_for(lambda: cluster.free_seats() == 1, "the engine of the good machine", 60)
        assert cluster.server.generate("a cat").status_code == 200
        assert cluster.newest_job()["device"] == f"{good.address} cpu"
        good.leave()
        broken.leave()
        del broken.environment["FAKE_LOAD_FAIL"]
        broken.start()
        cluster.server.wait_for(lambda: cluster.free_seats() == 1, "the engine of the repaired machine", 60)
        assert cluster.server.generate("a dog").status_code == 200
        assert cluster.newest_job()["device"] == f"{broken.address} cpu"
    finally:
        cluster.stop()


@pytest.mark.slow
@pytest.mark.timeout(400)
@needs_full_mode
def test_models_and_loras_are_read_and_fetched_on_each_machine(tmp_path):
    hub_folder = tiny_models.save_tiny_qwen_image(tmp_path / "hub")
    save_lora(tmp_path / "loras", "night", tiny_models.tiny_qwen_image(), seed=1)
    names = tmp_path / "names.toml"
    names.write_text("[tiny]\nsource = 'owner/tiny'\n")
    real = {"ENGINE_MODULE": "imageserver.engine", "OFFLINE": "0", "OMP_NUM_THREADS": "1"}
    with FakeHub(hub_folder, "owner/tiny").open() as hub:
        cluster = Cluster(
            tmp_path, machines=0, **real, **SMALL_IMAGES, HF_ENDPOINT=hub, MODEL_SOURCE="huggingface",
            MODELS_FILE=str(names), MODEL_LOADING="any", LORA_DIR=str(tmp_path / "loras"), STEP_TIMEOUT="120",
        )  # fmt: skip
        folders = {address: tmp_path / address / "models" for address in ADDRESSES}
        try:
            cluster.machines = [
                JoinedMachine(tmp_path, address, cluster.head, **real, MODELS_DIR=str(folder))
                for address, folder in folders.items()
            ]
            cluster.server.wait_for(lambda: cluster.free_seats() == 2, "both engines", 180)

            def is_loaded_by_both() -> bool:
                answer = cluster.server.ask("POST", "/v1/models/load", json={"model": "tiny"}, timeout=120)
                assert answer.status_code == 200
                return sum("tiny" in device["models"] for device in cluster.server.health()["devices"]) == 2

            cluster.server.wait_for(is_loaded_by_both, "both machines to have fetched and loaded it", 60)
            assert all(list(folder.rglob("*.safetensors")) for folder in folders.values())
            cluster.server.wait_for(lambda: cluster.free_seats() == 2, "both engines", 60)
            # Apart, for none can share a forward, and once the costs are learnt.
            wanted = {"model": "tiny", "size": "256x256", "loras": [{"name": "night"}], "deterministic": True}
            assert cluster.server.generate("the first", num_inference_steps=20, **wanted).status_code == 200
            running = [
                cluster.server.start_generating(f"a cat {number}", num_inference_steps=100, **wanted)
                for number in range(3)
            ]
            assert [answer.result(180).status_code for answer in running] == [200] * 3
            jobs = [job for job in cluster.server.get("/v1/jobs").json()["data"] if "a cat" in job["prompt"]]
            assert {job["device"] for job in jobs} == {f"{address} cpu" for address in ADDRESSES}
        finally:
            cluster.stop()


@pytest.mark.slow
@needs_full_mode
def test_a_restarted_server_goes_on_with_its_tasks_and_keeps_its_machines(tmp_path):
    cluster = Cluster(tmp_path)
    try:
        cluster.heal()
        bodies = [{"prompt": f"[step=0.1] {number}", "num_inference_steps": 5} for number in range(50)]
        tasks = [cluster.server.ask("POST", "/submit", json=body, timeout=20).json()["task_id"] for body in bodies]
        cluster.server.stop(signal.SIGKILL)
        assert not cluster.server.leftovers(20)
        port = cluster.server.port
        cluster.server = Server(tmp_path, **cluster.settings | {"PORT": str(port)})
        cluster.server.port, cluster.server.url = port, f"http://127.0.0.1:{port}"
        cluster.server.wait_until_ready(90)
        done = lambda: all(  # noqa: E731
            cluster.server.get(f"/status/{task}").json()["status"] == "completed" for task in tasks
        )
        cluster.server.wait_for(done, "all tasks", 240)
    finally:
        cluster.stop()


@pytest.mark.slow
@needs_full_mode
def test_clients_that_wait_while_the_server_restarts_come_back_and_get_one_image_each(tmp_path):
    cluster = Cluster(tmp_path, GRACEFUL_TIMEOUT="2")
    bodies = [{"prompt": f"[step=0.1] {number}", "num_inference_steps": 60} for number in range(5)]

    def ask(number: int) -> requests.Response:
        return cluster.server.post(bodies[number], headers={"Idempotency-Key": f"client {number}"}, timeout=120)

    try:
        cluster.heal()
        waiting = [in_background(ask, number) for number in range(5)]
        cluster.server.wait_until_active(2)
        assert cluster.server.stop() == 0
        for answer in (future.result(5) for future in waiting):
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) >= 1
        port = cluster.server.port
        cluster.server = Server(tmp_path, **cluster.settings | {"PORT": str(port)})
        cluster.server.port, cluster.server.url = port, f"http://127.0.0.1:{port}"
        cluster.server.wait_until_ready(90)
        tries = [[in_background(ask, number) for _ in range(2)] for number in range(5)]
        answers = [[future.result(120) for future in each] for each in tries]
        assert {answer.status_code for each in answers for answer in each} == {200}
        assert all(one.headers["X-Seed"] == other.headers["X-Seed"] for one, other in answers)
        generated = [job["cache"] for job in cluster.server.get("/v1/jobs").json()["data"]].count("miss")
        assert generated == 5
    finally:
        cluster.stop()


@pytest.mark.slow
@needs_full_mode
def test_a_server_of_a_cluster_that_others_have_started_asks_it_for_its_engines(tmp_path):
    cluster = Cluster(tmp_path, MAX_ENGINES="1")
    (tmp_path / "guest").mkdir()
    try:
        cluster.server.wait_for(lambda: cluster.free_seats() == 1, "the engine of the first server", 60)
        guest = Server(
            tmp_path / "guest", DEVICES="none", CLUSTER=cluster.head, CLUSTER_ADDRESS="127.0.0.6",
            CLUSTER_NODE_PORT="0", CLUSTER_TOKEN=TOKEN,
        )  # fmt: skip
        try:
            guest.wait_until_ready(60)
            assert guest.generate("a guest's image").status_code == 200
            [device] = [each for each in guest.health()["devices"] if each["status"] == "healthy"]
            assert device["name"] in {f"{address} cpu" for address in ADDRESSES}
            assert "--join" not in guest.log, "machines join the cluster where it was started"
        finally:
            guest.stop()
        assert cluster.server.generate("the first server goes on").status_code == 200
    finally:
        cluster.stop()


@pytest.mark.slow
@pytest.mark.fault(33)
@needs_full_mode
def test_a_head_that_is_gone_for_seconds_and_kept_its_memory_loses_nothing(tmp_path):
    port = str(free_port())
    head = f"{HEAD_ADDRESS}:{port}"
    common = {"CLUSTER_PORT": port, "CLUSTER_NODE_PORT": "0", "CLUSTER_TOKEN": TOKEN, "PYTHONUNBUFFERED": "1"}
    own = {"CLUSTER": "head", "CLUSTER_ADDRESS": HEAD_ADDRESS, "STATE_DIR": str(tmp_path / "head")}
    keeper = subprocess.Popen(
        [sys.executable, "-m", "imageserver.cluster"], cwd=ROOT, env=os.environ | common | own, stdout=subprocess.PIPE
    )
    assert keeper.stdout.readline() == b"started\n"
    machine = JoinedMachine(tmp_path, "127.0.0.3", head)
    server = Server(tmp_path, **common | {"CLUSTER": head, "CLUSTER_ADDRESS": "127.0.0.5", "DEVICES": "none"})
    try:
        server.wait_until_ready(60)
        running = server.start_generating("[step=0.1]", num_inference_steps=100)
        server.wait_until_active()
        family = psutil.Process(keeper.pid).children(recursive=True)
        next(each for each in family if each.name() == "gcs_server").kill()
        assert running.result(60).status_code == 200
        machine.engines()[0].kill()
        server.wait_until_ready(60)
        assert server.generate("the next one").status_code == 200
    finally:
        server.stop()
        machine.kill()
        keeper.terminate()
        keeper.wait(20)
