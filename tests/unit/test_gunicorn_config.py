"""gunicorn executes its configuration again at a reload (SIGHUP); what the server holds must outlive that."""

import importlib.util
import os
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import qwen_image_server
from imageserver.cluster.nodes.own_node import OwnNode
from tests.support.paths import ROOT
from tests.support.server import free_port

OTHER_USER = 65534


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
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    monkeypatch.setattr(qwen_image_server, "accepted_settings", None)
    monkeypatch.setattr(qwen_image_server, "accepted_secrets", None)
    monkeypatch.setitem(vars(qwen_image_server), "app", None)
    monkeypatch.setattr("imageserver.dispatch.client.launch.stop", lambda runtime_dir: None)

    def execute() -> ModuleType:
        spec = importlib.util.spec_from_file_location("__config__", ROOT / "gunicorn_config.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.require_cards = lambda settings: None
        return module

    return execute


def server_of(reload=lambda: None, user=None):
    owner = SimpleNamespace(uid=os.geteuid(), gid=os.getegid()) if user is None else SimpleNamespace(uid=user, gid=user)
    return SimpleNamespace(pid=0, reload=reload, cfg=SimpleNamespace(bind=[], **vars(owner)), LISTENERS=[])


def test_the_node_of_a_cluster_that_was_started_is_stopped_also_after_a_reload(configuration):
    server = server_of()
    configuration().on_starting(server)
    configuration().on_exit(server)
    assert server.own_node.calls == ["start", "stop"]


def test_a_mistake_in_the_styles_stops_a_start_and_no_server_that_reloads(configuration, monkeypatch, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[a")
    monkeypatch.setenv("STYLES_FILE", str(file))
    reloaded = configuration()
    with pytest.raises(SystemExit, match=r"STYLES_FILE=.*mine\.toml cannot be used"):
        reloaded.on_starting(server_of())


@pytest.mark.parametrize("name", ["provenance_secret", "url_secret"])
def test_a_damaged_secret_ends_the_start_and_not_one_worker_after_another(configuration, monkeypatch, tmp_path, name):
    monkeypatch.setenv("API_KEYS", "ann:0123456789abcdef")
    (tmp_path / name).write_bytes(b"short")
    with pytest.raises(SystemExit, match=f"has a damaged {name}"):
        configuration().on_starting(server_of())


def test_a_log_file_that_cannot_be_written_ends_the_start(configuration, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOG_FILE", str(tmp_path / "file" / "server.log"))
    with pytest.raises(SystemExit, match=r"LOG_FILE=.*server\.log cannot be written"):
        configuration().on_starting(server_of())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start workers as another user")
def test_what_root_makes_before_the_first_worker_belongs_to_the_user_of_the_workers(configuration, monkeypatch):
    # pytest's own folders are closed to other users.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        os.chown(folder, OTHER_USER, OTHER_USER)
        monkeypatch.setenv("STATE_DIR", str(folder / "state"))
        monkeypatch.setenv("LOG_FILE", str(folder / "server.log"))
        (folder / "keys").write_text("ann:0123456789abcdef\n")
        os.chown(folder / "keys", OTHER_USER, OTHER_USER)
        monkeypatch.setenv("API_KEYS_FILE", str(folder / "keys"))
        monkeypatch.setattr("tempfile.tempdir", name)
        stopped = []
        monkeypatch.setattr("imageserver.dispatch.client.launch.stop", lambda place: stopped.append(place.folder.name))
        server, running = server_of(user=OTHER_USER), configuration()
        running.on_starting(server)
        server.reload()
        running.on_exit(server)
        made = {file.name: (file.stat().st_uid, file.stat().st_gid) for file in folder.rglob("*")}
    assert made.keys() >= {"state", "state.sqlite", "provenance_secret", "url_secret", "server.log"}
    assert set(made.values()) == {(OTHER_USER, OTHER_USER)}
    runtime_folder = f"qwen-image-server-{OTHER_USER}"
    assert stopped == [runtime_folder]
    assert [file for file in made if file.startswith("qwen-image-server-")] == [runtime_folder]
    assert any(file.startswith("0.keys-") for file in made), "the workers find the keys that were accepted"
    assert (os.geteuid(), os.getegid()) == (0, os.getgid())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start workers as another user")
def test_a_state_folder_that_only_root_may_write_ends_the_start_where_workers_are_another_user(
    configuration, monkeypatch
):
    with tempfile.TemporaryDirectory(dir="/tmp") as name, tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        os.chown(runtime, OTHER_USER, OTHER_USER)
        monkeypatch.setattr("tempfile.tempdir", runtime)
        monkeypatch.setenv("STATE_DIR", f"{name}/state")
        with pytest.raises(SystemExit, match=r"STATE_DIR=.* cannot be written: Permission denied"):
            configuration().on_starting(server_of(user=OTHER_USER))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start workers as another user")
def test_keys_that_only_root_may_read_end_the_start_and_refuse_a_reload_where_workers_are_another_user(
    configuration, monkeypatch, capsys
):
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder, reloads = Path(name), []
        os.chown(folder, OTHER_USER, OTHER_USER)
        keys = folder / "keys"
        keys.write_text("ann:0123456789abcdef\n")
        keys.chmod(0o600)
        monkeypatch.setattr("tempfile.tempdir", name)
        monkeypatch.setenv("STATE_DIR", str(folder / "state"))
        monkeypatch.setenv("API_KEYS_FILE", str(keys))
        server = server_of(lambda: reloads.append(1), user=OTHER_USER)
        with pytest.raises(SystemExit, match=r"API_KEYS_FILE=.* cannot be read: Permission denied"):
            configuration().on_starting(server)
        keys.chmod(0o644)
        configuration().on_starting(server)
        keys.chmod(0o600)
        server.reload()
    assert "everything stays as it was. API_KEYS_FILE=" in capsys.readouterr().err
    assert reloads == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start workers as another user")
def test_the_node_of_a_cluster_runs_as_the_user_of_the_workers_and_they_can_read_its_token(configuration, monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        os.chown(folder, OTHER_USER, OTHER_USER)
        # In the place of Ray, which takes seconds.
        python = folder / "python"
        python.write_text(
            f'#!/bin/sh\nid -ru > "{folder}/user"; id -u >> "{folder}/user"; echo started 127.0.0.3:1; exec sleep 60\n'
        )
        python.chmod(0o755)
        monkeypatch.setattr("tempfile.tempdir", name)
        monkeypatch.setattr("sys.executable", str(python))
        monkeypatch.setattr("imageserver.cluster.nodes.own_node.OwnNode", OwnNode)
        monkeypatch.setattr("imageserver.cluster.nodes.own_node.WORKING_DIR", folder)
        for variable, value in {
            "STATE_DIR": f"{name}/state",
            "CLUSTER": "head",
            "CLUSTER_ADDRESS": "127.0.0.3",
            "CLUSTER_PORT": str(free_port()),
        }.items():
            monkeypatch.setenv(variable, value)
        server = server_of(user=OTHER_USER)
        started = configuration()
        started.on_starting(server)
        started.on_exit(server)
        assert (folder / "user").read_text().split() == [str(OTHER_USER)] * 2
        assert (folder / "state" / "cluster_token").stat().st_uid == OTHER_USER


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("API_KEYS_FILE", "The key in line 2 of API_KEYS_FILE is too short"), ("PORT", "PORT='ann:0123")],
)
def test_a_reload_with_wrong_keys_or_settings_changes_nothing_and_says_why(
    configuration, monkeypatch, tmp_path, capsys, name, sentence
):
    file, reloads = tmp_path / "keys", []
    file.write_text("ann:0123456789abcdef\n")
    monkeypatch.setenv("API_KEYS_FILE", str(file))
    server = server_of(lambda: reloads.append(file.read_text()))
    configuration().on_starting(server)
    server.reload()
    assert len(reloads) == 1
    file.write_text("ann:0123456789abcdef\nbob:short\n")
    if name != "API_KEYS_FILE":
        monkeypatch.setenv(name, "ann:0123456789abcdef")
    capsys.readouterr()
    server.reload()
    said = "".join(capsys.readouterr())
    assert len(reloads) == 1
    assert sentence in said
    file.write_text("ann:0123456789abcdef\nbob:0123456789abcdeF\n")
    monkeypatch.delenv("PORT", raising=False)
    server.reload()
    assert len(reloads) == 2


def test_a_worker_that_starts_after_a_refused_reload_has_the_settings_that_were_accepted(configuration, monkeypatch):
    monkeypatch.setenv("API_KEYS", "ann:0123456789abcdef")
    monkeypatch.setenv("HOST", "0.0.0.0")
    built, server, running = [], server_of(), configuration()
    monkeypatch.setattr("imageserver.app.create_app", lambda settings, *_: built.append(settings))
    running.on_starting(server)
    server.LISTENERS = [SimpleNamespace(getsockname=lambda: ("0.0.0.0", 5000))]
    monkeypatch.setenv("API_KEYS", "")
    server.reload()
    running.post_fork(server, None)
    qwen_image_server.__getattr__("app")
    assert [settings.asks_for_keys for settings in built] == [True]


@pytest.mark.parametrize("name", ["provenance_secret", "url_secret"])
def test_a_worker_that_starts_after_a_secret_was_damaged_has_the_one_that_was_accepted(
    configuration, monkeypatch, tmp_path, name
):
    monkeypatch.setenv("API_KEYS", "ann:0123456789abcdef")
    built, server, running = [], server_of(), configuration()
    monkeypatch.setattr("imageserver.app.create_app", lambda settings, _, secrets: built.append((settings, secrets)))
    running.on_starting(server)
    secret = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(b"short")
    running.post_fork(server, None)
    qwen_image_server.__getattr__("app")
    [(settings, secrets)] = built
    assert secrets.read(settings, name) == secret


def test_a_worker_that_reads_the_settings_itself_is_not_open_to_the_network(configuration, monkeypatch):
    monkeypatch.setenv("HOST", "0.0.0.0")
    monkeypatch.setattr("imageserver.app.create_app", lambda *_: pytest.fail("It would be open."))
    with pytest.raises(SystemExit, match="would open this server"):
        qwen_image_server.__getattr__("app")
