"""Who sees the prompts of requests in the list of jobs."""

from types import SimpleNamespace

import pytest
from flask import Flask, g

from imageserver.api.credentials.api_keys import Owner
from imageserver.api.request_context import EXTENSION
from imageserver.api.server import jobs
from imageserver.protocol.messages import JobStatus

STATUS = JobStatus(
    id=3, model="demo", dialect="native", state="completed", prompt="a secret", width=64, height=64, steps=1, n=1,
    seed=1, revised_prompt="a better secret", priority="normal", created_at=0.0, total_steps=1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("log_prompts", "query", "seen"),
    [
        (True, "?all=true", ("a secret", "a better secret")),
        (False, "", ("a secret", "a better secret")),
        # Clients generate again from a revised prompt: null tells them that there is none to be had.
        (False, "?all=true", ("[redacted]", None)),
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/3"])
def test_without_log_prompts_an_admin_sees_no_prompts_of_others(path, log_prompts, query, seen):
    app = Flask("jobs")
    app.extensions[EXTENSION] = SimpleNamespace(
        settings=SimpleNamespace(log_prompts=log_prompts),
        client=SimpleNamespace(jobs=lambda question: (STATUS,)),
        request_ids=SimpleNamespace(next_id=lambda: 9),
    )
    app.register_blueprint(jobs.blueprint)

    @app.before_request
    def authenticate():
        g.owner = Owner("ann", "admin")

    answer = app.test_client().get(path + query).json
    [job] = answer.get("data", [answer])
    assert (job["prompt"], job["revised_prompt"], job["seed"]) == (*seen, 1)
