"""A reload (SIGHUP) with settings that the server could not go on with changes nothing and says why."""

import os
import socket
from types import SimpleNamespace

import pytest

from imageserver.api.credentials.accepted_secrets import AcceptedSecrets
from imageserver.cli.guarded_reload import GuardedReload
from imageserver.settings import Settings
from imageserver.settings.source import load_settings

KEY = "ann-key-0123456789"


class RunningServer:
    """gunicorn's main process, which listens where its settings say unless `bind` does."""

    def __init__(self, monkeypatch, tmp_path, bind=None, **settings):
        self._monkeypatch = monkeypatch
        monkeypatch.setitem(Settings.model_config, "env_file", None)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        self.set(**{"STATE_DIR": str(tmp_path / "state"), "PORT": "5000", **settings})
        self.pid, self.reloads = 0, 0
        chosen = load_settings()
        self.cfg = SimpleNamespace(bind=[bind or f"{chosen.host}:{chosen.port}"], uid=os.geteuid(), gid=os.getegid())
        host, _, port = self.cfg.bind[0].rpartition(":")
        self.LISTENERS = [SimpleNamespace(getsockname=lambda: (host, int(port)))]
        self.secrets = AcceptedSecrets()
        self.guarded = GuardedReload(self, chosen)

    def set(self, **settings):
        for name, value in settings.items():
            self._monkeypatch.setenv(name, value)

    def reload(self):
        self.reloads += 1


@pytest.fixture
def running(monkeypatch, tmp_path):
    return lambda **settings: RunningServer(monkeypatch, tmp_path, **settings)


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def said_by(server, capsys):
    server.guarded()
    return capsys.readouterr().err


def test_a_port_that_is_taken_is_refused_and_a_free_one_is_not(running, capsys, taken_port):
    server = running()
    server.set(PORT=str(taken_port))
    assert f"stays as it was. Port {taken_port} is already in use" in said_by(server, capsys)
    assert server.reloads == 0
    server.set(PORT="0")
    assert (said_by(server, capsys), server.reloads) == ("", 1)


def test_a_host_that_this_machine_does_not_have_is_refused(running, capsys):
    server = running()
    server.set(HOST="192.0.2.1", ALLOW_OPEN="1")
    assert "The server cannot listen on HOST=192.0.2.1" in said_by(server, capsys)
    assert server.reloads == 0


def test_a_host_that_cannot_be_the_name_of_a_machine_is_refused(running, capsys):
    server = running()
    server.set(HOST="ä" * 64, ALLOW_OPEN="1")
    assert "it cannot be the name of a machine" in said_by(server, capsys)
    assert server.reloads == 0


def test_a_host_whose_port_the_server_itself_has_needs_a_restart(running, capsys, taken_port):
    server = running(HOST="127.0.0.1", PORT=str(taken_port))
    server.set(HOST="0.0.0.0", ALLOW_OPEN="1")
    assert f"HOST=0.0.0.0 needs a restart, or another PORT: this server itself uses port {taken_port}" in said_by(
        server, capsys
    )
    assert server.reloads == 0


def test_a_folder_for_the_state_that_cannot_be_used_is_refused(running, capsys, tmp_path):
    server = running()
    (tmp_path / "file").write_text("")
    server.set(STATE_DIR=str(tmp_path / "file"))
    assert "stays as it was. STATE_DIR=" in said_by(server, capsys)
    server.set(STATE_DIR=str(tmp_path / "other"))
    assert (said_by(server, capsys), server.reloads) == ("", 1)


def test_a_secret_that_no_worker_could_read_is_refused(running, capsys, tmp_path):
    server = running()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "provenance_secret").write_bytes(b"short")
    assert "has a damaged provenance_secret" in said_by(server, capsys)
    assert server.reloads == 0


def test_a_log_file_that_no_worker_could_write_is_refused(running, capsys, tmp_path):
    server = running()
    (tmp_path / "file").write_text("")
    server.set(LOG_FILE=str(tmp_path / "file" / "server.log"))
    assert "stays as it was. LOG_FILE=" in said_by(server, capsys)
    assert server.reloads == 0
    server.set(LOG_FILE=str(tmp_path / "logs" / "server.log"))
    assert (said_by(server, capsys), server.reloads) == ("", 1)


def test_a_reload_that_is_refused_for_its_log_file_leaves_the_secret_that_was_accepted(running, capsys, tmp_path):
    server = running()
    server.guarded()
    secret = tmp_path / "state" / "provenance_secret"
    accepted = secret.read_bytes()
    secret.write_bytes(bytes(len(accepted)))
    (tmp_path / "file").write_text("")
    server.set(LOG_FILE=str(tmp_path / "file" / "server.log"))
    assert "stays as it was. LOG_FILE=" in said_by(server, capsys)
    assert server.secrets.read(load_settings(), "provenance_secret") == accepted


def test_a_runtime_folder_of_somebody_else_is_refused(running, capsys, tmp_path):
    server = running()
    (tmp_path / f"qwen-image-server-{os.getuid()}").symlink_to(tmp_path)
    assert "belongs to somebody else; set TMPDIR" in said_by(server, capsys)
    assert server.reloads == 0


def test_the_database_that_the_workers_use_is_left_alone(running, capsys, tmp_path):
    server = running()
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "state.sqlite").write_bytes(b"damaged" * 1000)
    assert (said_by(server, capsys), server.reloads) == ("", 1)
    databases = {file.name: file.read_bytes() for file in (tmp_path / "state").glob("*sqlite*")}
    assert databases == {"state.sqlite": b"damaged" * 1000}


def test_a_filesystem_that_is_not_known_is_refused(running, capsys):
    server = running()
    server.set(OUTPUT_URL="nothing://bucket")
    assert "OUTPUT_URL=nothing://bucket" in said_by(server, capsys)
    assert server.reloads == 0


@pytest.mark.parametrize("bind", [None, "0.0.0.0:5000"], ids=["by HOST", "by --bind"])
def test_taking_the_keys_away_does_not_open_a_server_to_the_network(running, capsys, bind):
    server = running(HOST="127.0.0.1" if bind else "0.0.0.0", API_KEYS=KEY, bind=bind)
    server.set(API_KEYS="")
    assert "HOST=0.0.0.0 would open this server to the network" in said_by(server, capsys)
    server.set(ALLOW_OPEN="1")
    assert (said_by(server, capsys), server.reloads) == ("", 1)


def test_a_host_of_this_machine_does_not_open_a_server_that_bind_keeps_on_the_network(running, capsys):
    server = running(HOST="0.0.0.0", API_KEYS=KEY, bind="0.0.0.0:5000")
    server.set(API_KEYS="", HOST="127.0.0.1", PORT="0")
    assert "HOST=0.0.0.0 would open this server to the network" in said_by(server, capsys)
    assert server.reloads == 0


def test_after_an_accepted_reload_the_next_one_is_compared_with_that(running, capsys, taken_port):
    server = running()
    server.set(PORT="0")
    server.guarded()
    server.cfg.bind = ["127.0.0.1:0"]
    server.set(PORT=str(taken_port))
    assert "already in use" in said_by(server, capsys)
    assert server.reloads == 1
