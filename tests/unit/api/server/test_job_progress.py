"""The short list of the requests that run or wait."""

import json
from types import SimpleNamespace

import flask
import msgspec
import pytest

from imageserver.api import errors
from imageserver.api.request_context import EXTENSION
from imageserver.api.server import jobs
from imageserver.protocol.messages import JobStatus

PROMPT = "a long prompt " * 60
WAITING = JobStatus(
    id=7, dialect="native", state="queued", prompt=PROMPT, width=64, height=64, steps=4, n=1, seed=1, total_steps=4,
    priority="normal", created_at=1.0, queue_position=3, queue_wait=12.5, expected_seconds=2.25,
)  # fmt: skip


@pytest.fixture
def client():
    """A client of a server on which 200 requests wait; what its dispatcher was asked stands in `asked`."""
    asked = []

    def answer(question):
        asked.append(question)
        return tuple(msgspec.structs.replace(WAITING, id=number) for number in question.among or range(200))

    app = flask.Flask("jobs")
    app.extensions[EXTENSION] = SimpleNamespace(
        client=SimpleNamespace(jobs=answer), request_ids=SimpleNamespace(next_id=lambda: 9),
        settings=SimpleNamespace(log_prompts=True),
    )  # fmt: skip
    errors.register(app)
    app.register_blueprint(jobs.blueprint)
    client = app.test_client()
    client.asked = asked
    return client


def test_the_short_list_has_what_changes_and_of_jobs_by_their_numbers_only_those(client):
    answer = client.get("/v1/jobs/progress?ids=7,12").json
    assert answer["data"][0] == {
        "id": 7, "state": "queued", "step": 0, "total_steps": 4, "queue_position": 3, "queue_wait": 12.5,
        "expected_seconds": 2.25,
    }  # fmt: skip
    [question] = client.asked
    assert (question.among, question.states) == ((7, 12), ("queued", "processing"))


def test_the_whole_list_can_be_asked_for_some_jobs_alone(client):
    assert [job["id"] for job in client.get("/v1/jobs?ids=7,12&state=queued").json["data"]] == [7, 12]
    assert (client.asked[0].among, client.asked[0].states) == ((7, 12), ("queued",))


def test_of_200_waiting_jobs_with_long_prompts_the_short_list_has_less_than_a_tenth_of_the_bytes(client):
    short, whole = (client.get(path).data for path in ("/v1/jobs/progress", "/v1/jobs?limit=200"))
    assert len(json.loads(short)["data"]) == len(json.loads(whole)["data"]) == 200
    assert len(short) < len(whole) / 10


@pytest.mark.parametrize("ids", ["", "7,", "a", "7;8", ",".join(["1"] * 201), "1" * 19])
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/progress"])
def test_what_is_not_a_list_of_numbers_is_refused_with_what_is(client, path, ids):
    answer = client.get(path, query_string={"ids": ids})
    assert (answer.status_code, answer.json["param"]) == (422, "ids")
    assert "200 at most, with commas between them" in answer.json["error"]
