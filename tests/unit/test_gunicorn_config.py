"""gunicorn executes its configuration again at a reload (SIGHUP); what the server holds must outlive that."""

import importlib.util
from types import ModuleType, SimpleNamespace

import pytest

from tests.support.paths import ROOT


class NodeOfCluster:
    def __init__(self, settings):
        self.calls = []

    def start(self):
        self.calls.append("start")

    def stop(self):
        self.calls.append("stop")


@pytest.fixture
def configuration(monkeypatch, tmp_path):
    """Return what gunicorn executes at a start and at each reload, without what it checks of this machine."""
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    monkeypatch.setattr("imageserver.cluster.nodes.own_node.OwnNode", NodeOfCluster)
    monkeypatch.setattr("imageserver.startup.require_free_port", lambda settings: None)
    monkeypatch.setattr("imageserver.dispatch.client.launch.stop", lambda runtime_dir: None)

    def execute() -> ModuleType:
        spec = importlib.util.spec_from_file_location("__config__", ROOT / "gunicorn_config.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.require_cards = lambda settings: None
        return module

    return execute


def test_the_node_of_a_cluster_that_was_started_is_stopped_also_after_a_reload(configuration):
    server = SimpleNamespace(pid=0)
    configuration().on_starting(server)
    configuration().on_exit(server)
    assert server.own_node.calls == ["start", "stop"]
