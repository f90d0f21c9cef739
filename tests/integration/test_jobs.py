"""Every request of every dialect is a job: listed, followed and stopped under the id its answer carries."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.support.server import Server


def jobs(server: Server, query: str = "") -> list[dict[str, Any]]:
    return server.get(f"/v1/jobs{query}").json()["data"]


def events(server: Server, number: int, last: str | None = None) -> Iterator[tuple[int, str, dict[str, Any]]]:
    headers = {} if last is None else {"Last-Event-ID": last}
    with requests.get(f"{server.url}/v1/jobs/{number}/events", stream=True, timeout=20, headers=headers) as answer:
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in answer.iter_lines(decode_unicode=True):
            if line and not line.startswith(":"):
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                yield int(fields["id"]), fields["event"], json.loads(fields["data"])
                fields = {}


def running_job(server: Server, marker: str) -> int:
    server.wait_for(lambda: any(marker in job["prompt"] for job in jobs(server, "?state=processing")), "the job")
    return next(job["id"] for job in jobs(server) if marker in job["prompt"])


def test_an_answered_request_is_a_completed_job_under_the_same_id(fake_server):
    answer = fake_server.generate("a completed job", save_to_file=True, num_inference_steps=3, seed=5).json()
    job = fake_server.get(f"/v1/jobs/{answer['request_id']}").json()
    assert (job["state"], job["dialect"], job["progress"], job["seeds"]) == ("completed", "native", 1.0, [5])
    assert (job["width"], job["height"]) == (answer["width"], answer["height"])
    assert job["created_at"] <= job["started_at"] <= job["completed_at"]


def test_a_hit_of_the_cache_is_a_job_too(fake_server):
    for expected in ("miss", "hit"):
        answer = fake_server.post({"prompt": "a cached job", "save_to_file": True}).json()
        assert fake_server.get(f"/v1/jobs/{answer['request_id']}").json()["cache"] == expected


def test_a_failed_request_says_why(fake_server):
    answer = fake_server.generate("a failed job [fail]")
    job = fake_server.get(f"/v1/jobs/{answer.json()['request_id']}").json()
    assert (job["state"], job["code"]) == ("failed", "generation_failed")
    assert job["error"] == answer.json()["error"]


# With a server of its own: one that has generated nothing yet expects every image to take its time.
def test_waiting_jobs_know_their_place_and_their_wait(own_server):
    first = own_server.start_generating("[step=0.05] ahead", num_inference_steps=40)
    running_job(own_server, "ahead")
    second = own_server.start_generating("[step=0.05] behind", num_inference_steps=2)
    own_server.wait_for(lambda: "behind" in jobs(own_server)[0]["prompt"], "the second job")
    behind = jobs(own_server)[0]
    assert (behind["state"], behind["queue_position"]) == ("queued", 1)
    assert behind["queue_wait"] > 0
    assert behind["expected_seconds"] > 0
    for future in (first, second):
        assert future.result(30).status_code == 200


def test_events_tell_the_whole_life_and_resume_after_the_last_one_seen(quiet_server):
    future = quiet_server.start_generating("[step=0.1] watched", num_inference_steps=10)
    number = running_job(quiet_server, "watched")
    seen = []
    for event in events(quiet_server, number):
        seen.append(event)
        if event[1] == "progress" and event[2]["step"] == 3:
            break
    rest = list(events(quiet_server, number, last=str(seen[-1][0])))
    everything = seen + rest
    assert [event[0] for event in everything] == list(range(1, len(everything) + 1))
    names = [event[1] for event in everything]
    assert (names[0], names[1], names[-1]) == ("queued", "started", "completed")
    assert [event[2]["step"] for event in everything if event[1] == "progress"] == list(range(1, 11))
    assert future.result(30).status_code == 200


def test_delete_stops_a_running_job_and_its_client_is_told(quiet_server):
    future = quiet_server.start_generating("[step=0.1] to be stopped", num_inference_steps=100)
    number = running_job(quiet_server, "to be stopped")
    answer = requests.delete(f"{quiet_server.url}/v1/jobs/{number}", timeout=10)
    assert answer.json()["state"] == "cancelled"
    assert future.result(10).json()["code"] == "cancelled"
    quiet_server.wait_until_idle()
    again = requests.delete(f"{quiet_server.url}/v1/jobs/{number}", timeout=10)
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")


@pytest.mark.parametrize(
    ("path", "status", "param"),
    [
        ("/v1/jobs/999999999", 404, None),
        ("/v1/jobs/99999999999999999999999", 404, None),
        ("/v1/jobs/999999999/events", 404, None),
        ("/v1/jobs?limit=0", 422, "limit"),
        ("/v1/jobs?limit=x", 422, "limit"),
        ("/v1/jobs?state=gone", 422, "state"),
        ("/v1/jobs?colour=red", 422, "colour"),
    ],
)
def test_wrong_questions_are_refused_by_name(fake_server, path, status, param):
    answer = fake_server.get(path)
    assert (answer.status_code, answer.json()["param"]) == (status, param)


def test_a_last_event_id_that_is_no_number_is_refused(fake_server):
    answer = fake_server.get("/v1/jobs/1/events", headers={"Last-Event-ID": "x"})
    assert (answer.status_code, answer.json()["param"]) == (422, "Last-Event-ID")
