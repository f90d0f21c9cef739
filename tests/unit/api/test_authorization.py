"""Users generate; only admins change the server for others, or see and stop others' jobs."""

from types import SimpleNamespace

import pytest
from flask import Flask

from imageserver.api import routes
from imageserver.api.authorization import ADMIN_ENDPOINTS
from imageserver.api.credentials.api_keys import Keyring
from imageserver.api.credentials.key_entries import KeyEntry
from imageserver.api.request_context import EXTENSION
from imageserver.protocol.messages import CancelJob, DeviceUsage, ListJobs, Snapshot
from imageserver.settings import Settings
from imageserver.telemetry.instruments import KEY_DEVICE_SECONDS, WEBHOOKS
from imageserver.telemetry.metric_registry import MetricRegistry

ANN, BOB, TOKEN = "ann-key-0123456789", "bob-key-0123456789", "hf_token"
ADMIN_PATHS = ["/v1/models/load", "/v1/models/unload", "/v1/loras/load", "/v1/loras/unload", "/sdapi/v1/options"]


IDLE = Snapshot(
    state="healthy", reason="", phase="ready", load_fraction=1.0, info=None, queue_length=0, active=0, total=0,
    completed=0, failed=0, cancelled=0, engine_restarts=0, queue_wait=0.0, dispatcher_pid=1, engine_pid=1,
    estimate_error=None, usage=DeviceUsage(),
)  # fmt: skip


def measured():
    registry = MetricRegistry()
    registry.count(KEY_DEVICE_SECONDS, "ann", amount=2.5)
    registry.count(WEBHOOKS, "delivered")
    return registry.series()


class RoutesOverNothing:
    """All routes over a dispatcher that only keeps the questions."""

    def __init__(self, *entries):
        settings = Settings(_env_file=None)
        self.app = Flask("roles", static_folder=None)
        self.app.config["MAX_CONTENT_LENGTH"] = 2**20
        routes.register(self.app, settings)
        self.questions = []
        self.app.extensions[EXTENSION] = SimpleNamespace(
            settings=settings,
            request_ids=SimpleNamespace(next_id=lambda: 5),
            measurements=MetricRegistry(),
            keyring=Keyring(entries, locked=bool(entries)),
            huggingface_tokens=SimpleNamespace(owner_of={TOKEN: "hf:eve"}.get),
            client=SimpleNamespace(jobs=lambda question: self.questions.append(question) or ()),
            snapshot=IDLE,
            tasks=SimpleNamespace(count_by_state=dict),
            thread_pool=SimpleNamespace(run=lambda function, *arguments: function(*arguments)),
            measurement_link=SimpleNamespace(totals=measured),
        )

    def ask(self, method, path, key=None, **options):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return self.app.test_client().open(path, method=method, headers=headers, **options)


@pytest.fixture
def server():
    return RoutesOverNothing(KeyEntry(name="ann", key=ANN), KeyEntry(name="bob", key=BOB, role="user"))


def test_every_route_of_admins_exists(server):
    paths = {rule.rule for rule in server.app.url_map.iter_rules() if rule.endpoint in ADMIN_ENDPOINTS}
    assert paths >= set(ADMIN_PATHS)
    assert server.app.view_functions.keys() >= ADMIN_ENDPOINTS


@pytest.mark.parametrize("key", [BOB, TOKEN], ids=["user", "hub"])
@pytest.mark.parametrize("path", ADMIN_PATHS)
def test_a_user_changes_nothing_for_others_and_is_told_why(server, path, key):
    answer = server.ask("POST", path, key, json={})
    assert answer.status_code == 403
    assert "admin_required" in answer.text
    assert "needs a key with the role admin" in answer.text


@pytest.mark.parametrize("path", ADMIN_PATHS)
def test_an_admin_and_everybody_on_a_server_without_keys_may(server, path):
    for answer in (server.ask("POST", path, ANN, data="{"), RoutesOverNothing().ask("POST", path, data="{")):
        # Both are refused for their body only.
        assert answer.status_code == 400


def test_options_may_be_read_by_users(server):
    assert server.ask("GET", "/sdapi/v1/cmd-flags", BOB).status_code == 200


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/jobs"), ("GET", "/v1/jobs/7"), ("DELETE", "/v1/jobs/7")])
def test_jobs_of_others_are_an_admins_who_asks_for_all(server, method, path):
    refused = server.ask(method, f"{path}?all=true", BOB)
    assert (refused.status_code, refused.get_json()["code"]) == (403, "admin_required")
    assert not server.questions
    for key, query in ((BOB, ""), (ANN, ""), (ANN, "?all=true")):
        server.ask(method, path + query, key)
    assert [question.credential for question in server.questions] == ["bob", "ann", ""]
    assert {type(question) for question in server.questions} <= {ListJobs, CancelJob}


def test_the_events_of_others_are_an_admins_too(server):
    answer = server.ask("GET", "/v1/jobs/7/events?all=true", BOB)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "admin_required")


@pytest.mark.parametrize(("key", "seen"), [(ANN, True), (BOB, False), (TOKEN, False)], ids=["admin", "user", "hub"])
def test_what_each_key_has_used_is_in_the_metrics_of_admins_alone(server, key, seen):
    text = server.ask("GET", "/metrics", key).text
    assert ('key_device_seconds_total{key="ann"} 2.5' in text) is seen
    assert 'webhooks_total{result="delivered"} 1.0' in text
