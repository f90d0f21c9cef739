"""The metrics of a server with two workers count everything once, whichever worker is asked."""

import re
import uuid

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.prometheus import MISSING, NAMES, PROMETHEUS, Prometheus, alerts, configure, expressions, panels
from tests.support.server import Server

PREFIX = "qwen_image_server_"
STAGES = ["queue", "text", "denoise", "decode", "encode", "app"]
APP_TIME = re.compile(r"app;dur=\d+\.\d")


@pytest.fixture(scope="module")
def server(servers) -> Server:
    """A server with two workers that has generated, answered from its cache, and refused."""
    server = servers(WORKERS="2")
    for _ in range(2):
        assert server.post({"prompt": "twice", "seed": 1}).status_code == 200
    assert server.post({"prompt": "x", "num_inference_steps": 0}).status_code == 422
    task = server.ask("PUT", f"/v1/tasks/{uuid.uuid4()}", json={"prompt": "a task"}, timeout=20)
    assert task.ok, task.text
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
    for _ in range(7):
        assert server.generate(size="768x768").status_code == 200
    for _ in range(2):
        assert server.post({"prompt": "again", "seed": 1, "size": "768x768"}).status_code == 200
    assert server.generate("[fail]", size="768x768").status_code == 500
    for _ in range(6):
        assert server.get("/nowhere").status_code == 404

    def figures() -> dict[str, float]:
        return {
            "completed": sums(server, "request_seconds_count", size="768", outcome="completed"),
            "failed": sums(server, "request_seconds_count", size="768", outcome="failed"),
            "queued": sums(server, "request_queue_seconds_count", size="768"),
            "encoded": sums(server, "stage_seconds_count", size="768", stage="encode"),
            "refused": sums(server, "refusals_total", code="not_found"),
        }

    # One of the nine completed ones came from the cache.
    expected = {"completed": 9, "failed": 1, "queued": 9, "encoded": 8, "refused": 6}
    server.wait_for(lambda: figures() == expected, "the sums of both workers")
    # Whichever worker is asked.
    assert [found for found in (figures() for _ in range(4)) if found != expected] == []
    assert sums(server, "model_load_seconds_count", model="fake") == 1


def test_an_answer_says_where_its_time_went(server):
    answer = server.post({"prompt": "timed", "cache": False})
    stages = dict(stage.split(";dur=") for stage in answer.headers["Server-Timing"].split(", "))
    assert list(stages) == STAGES
    assert 0 < float(stages["denoise"]) <= 1000 * answer.elapsed.total_seconds()
    assert server.post({"prompt": "twice", "seed": 1}).headers["Server-Timing"].startswith("cache;desc=hit, app;dur=")


def test_every_other_answer_says_how_long_the_application_took(fake_server):
    answers = {
        path: fake_server.get(path)
        for path in ("/", "/health", "/livez", "/v1/models", "/v1/jobs", "/metrics", "/page/main.js", "/nothing")
    }
    answers["a wrong field"] = fake_server.generate(stepz=3)
    answers["a wrong method"] = fake_server.get("/generate")
    answers["another host"] = fake_server.get("/v1/models", headers={"Host": "evil.example"})
    assert answers["another host"].status_code == 421
    timings = {name: answer.headers.get("Server-Timing", "") for name, answer in answers.items()}
    assert {name: text for name, text in timings.items() if not APP_TIME.fullmatch(text)} == {}


def test_a_stream_and_a_refusal_of_what_is_no_http_have_the_header_too(fake_server):
    body = {"prompt": "streamed", "stream": True, "cache": False}
    stream = fake_server.ask("POST", "/v1/images/generations", json=body, stream=True, timeout=30)
    assert stream.headers["Content-Type"].startswith("text/event-stream")
    assert APP_TIME.fullmatch(stream.headers["Server-Timing"])
    stream.close()
    with fake_server.connect() as connection:
        connection.sendall(b"NO HTTP AT ALL\r\n\r\n")
        assert b"\r\nServer-Timing: app;dur=0.0\r\n" in connection.makefile("rb").read()


def test_tasks_are_counted_by_state(server):
    server.wait_for(lambda: sums(server, "tasks", state="completed") == 1, "a completed task")


def test_every_metric_of_the_dashboard_and_the_alerts_is_one_of_the_servers(server):
    named = {name for expression in expressions() for name in NAMES.findall(expression)}

    def missing() -> set[str]:
        families = text_string_to_metric_families(server.get("/metrics").text)
        return named - {sample.name for family in families for sample in family.samples}

    # Nobody asked for previews.
    unasked = {PREFIX + "first_preview_seconds_sum", PREFIX + "first_preview_seconds_count"}
    server.wait_for(lambda: missing() == unasked, f"a sample of {missing() - unasked}")


@pytest.mark.skipif(PROMETHEUS is None, reason=MISSING)
def test_prometheus_evaluates_every_panel_and_every_alert(server, tmp_path):
    configure(tmp_path, server.url.removeprefix("http://"))
    prometheus = Prometheus(tmp_path)
    try:
        empty = [
            target["expr"] for panel in panels() for target in panel["targets"] if not prometheus.query(target["expr"])
        ]
        assert [expression for expression in empty if "first_preview" not in expression] == []
        rules = {rule["name"]: rule for rule in prometheus.rules()}
        assert rules.keys() == {alert["alert"] for alert in alerts()}
        assert {name: rule["lastError"] for name, rule in rules.items() if rule["health"] != "ok"} == {}
        waits = "histogram_quantile(0.5, sum by (le) (qwen_image_server_request_seconds_bucket))"
        assert 0 < float(prometheus.query(waits)[0]["value"][1]) < 60
    finally:
        prometheus.stop()
