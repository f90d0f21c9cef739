"""The metrics of a server with two workers count everything once, whichever worker is asked."""

import uuid

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.server import Server

PREFIX = "qwen_image_server_"
STAGES = ["queue", "text", "denoise", "decode", "encode"]


@pytest.fixture(scope="module")
def server(servers) -> Server:
    """A server with two workers that has generated, answered from its cache, and refused."""
    server = servers(WORKERS="2")
    for _ in range(6):
        assert server.generate().status_code == 200
    for _ in range(2):
        server.post({"prompt": "twice", "seed": 1})
    assert server.generate("[fail]").status_code == 500
    for _ in range(6):
        assert server.post({"prompt": "x", "num_inference_steps": 0}).status_code == 422
    return server


def sums(server: Server, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples with these labels."""
    found = 0.0
    for family in text_string_to_metric_families(server.get("/metrics").text):
        for sample in family.samples:
            if sample.name == PREFIX + name and labels.items() <= sample.labels.items():
                found += sample.value
    return found


def test_every_worker_reports_the_sum_of_all(server):
    server.wait_for(lambda: sums(server, "refusals_total", code="invalid_parameter") == 6, "six refusals")
    for _ in range(8):
        assert sums(server, "request_seconds_count", outcome="completed") == 8
        assert sums(server, "request_seconds_count", outcome="failed") == 1
        assert sums(server, "refusals_total", code="invalid_parameter") == 6
        assert sums(server, "request_queue_seconds_count") == 8  # one came from the cache
        assert sums(server, "stage_seconds_count", stage="encode", model="fake", kind="text", size="512") == 7
        assert sums(server, "cache_results_total", result="hit") == 1
    assert sums(server, "model_load_seconds_count") == 1


def test_an_answer_says_where_its_time_went(server):
    answer = server.generate()
    stages = dict(stage.split(";dur=") for stage in answer.headers["Server-Timing"].split(", "))
    assert list(stages) == STAGES
    assert 0 < float(stages["denoise"]) <= 1000 * answer.elapsed.total_seconds()
    assert server.post({"prompt": "twice", "seed": 1}).headers["Server-Timing"] == "cache;desc=hit"


def test_tasks_are_counted_by_state(server):
    task = server.ask("PUT", f"/v1/tasks/{uuid.uuid4()}", json={"prompt": "a task"}, timeout=20)
    assert task.ok, task.text
    server.wait_for(lambda: sums(server, "tasks", state="completed") == 1, "a completed task")
