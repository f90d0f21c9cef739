"""How a machine becomes a part of a cluster: its token, its ports, and one sentence where it cannot."""

import importlib.util
import re
import socket
import stat
import subprocess
import sys
from types import SimpleNamespace

import pytest

from imageserver.cluster.nodes import membership, node_keeper, own_node
from imageserver.cluster.nodes.node import Node
from imageserver.cluster.nodes.node_keeper import NodeKeeper
from imageserver.settings import Settings
from tests.support.paths import ROOT


def settings(tmp_path, **changes):
    fields = {"cluster": "head", "cluster_address": "127.0.0.2", "state_dir": tmp_path / "state"}
    return Settings(_env_file=None, **fields | changes)


def test_windows_is_told_that_it_cannot_join(tmp_path, monkeypatch):
    monkeypatch.setattr(own_node.sys, "platform", "win32")
    with pytest.raises(SystemExit, match=r"^CLUSTER=head does not work on Windows, .*; use WSL 2\.$"):
        own_node.refuse_windows(settings(tmp_path))
    monkeypatch.undo()
    # What Windows lacks must not be imported before that.
    command = "import sys; sys.modules['fcntl'] = None; import imageserver.cluster.__main__"
    subprocess.run([sys.executable, "-c", command], cwd=ROOT, check=True)


def test_a_head_makes_its_token_once_for_its_user_alone(tmp_path):
    token = membership.establish_token(settings(tmp_path))
    assert len(token) == 64
    assert membership.establish_token(settings(tmp_path)) == token
    assert stat.S_IMODE(membership.token_file(settings(tmp_path)).stat().st_mode) == 0o600


def test_a_token_that_is_given_wins_and_a_machine_that_joins_makes_none(tmp_path):
    assert membership.establish_token(settings(tmp_path, cluster="10.0.0.5:6379")) == ""
    assert membership.establish_token(settings(tmp_path, cluster_token="given")) == "given"


def test_no_secret_is_on_a_command_line_or_in_an_environment(tmp_path):
    wanted = settings(tmp_path, cluster_token="hush-hush")
    membership.establish_token(wanted)
    assert "hush-hush" not in " ".join([*Node(wanted).command(), *membership.environment(wanted).values()])
    assert membership.environment(wanted)["RAY_AUTH_MODE"] == "token"


def test_the_ports_of_a_node_are_the_46_that_the_firewall_opens(tmp_path):
    command = Node(settings(tmp_path, cluster_node_port=7000)).command()
    ports = {int(word.partition("=")[2]) for word in command if "port=" in word} - {6379}
    assert (min(ports), max(ports)) == (7000, 7045)


def test_a_machine_that_joins_offers_an_engine_for_each_device_and_the_head_none(tmp_path):
    joining = settings(tmp_path, cluster="10.0.0.5:6379")
    assert '--resources={"engine": 2}' in Node(joining, devices=("cuda:0", "cuda:1")).command()
    assert "--address=10.0.0.5:6379" in Node(joining).command()
    assert '--resources={"engine": 0}' in Node(settings(tmp_path), is_head=True).command()


def test_a_token_that_cannot_be_read_is_told_in_one_sentence(tmp_path):
    membership.token_file(settings(tmp_path)).mkdir(parents=True)
    with pytest.raises(SystemExit, match=r"^\S+/state/cluster_token cannot be used: Is a directory\.$"):
        own_node.require_token(settings(tmp_path))


def test_a_cluster_without_ray_is_refused_with_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    installs = "CLUSTER=head bash start_server.sh --install-only installs it."
    with pytest.raises(SystemExit, match=rf"^CLUSTER=head needs Ray, which is not installed: {re.escape(installs)}$"):
        own_node.OwnNode(settings(tmp_path)).start()


def test_a_port_that_another_head_has_is_refused_with_one_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        wanted = settings(tmp_path, cluster_address="127.0.0.1", cluster_port=port)
        with pytest.raises(SystemExit, match=f"^Port {port} is in use, perhaps by another head: CLUSTER=127.0.0.1:"):
            own_node.require_no_other_head(wanted)


def test_the_servers_main_process_imports_nothing_that_gevent_has_to_patch_first(tmp_path):
    """Its workers inherit what it has imported: with Ray's urllib3, all their TLS connections ended in a recursion."""
    keeper = tmp_path / "python"
    keeper.write_text("#!/bin/sh\necho started 10.0.0.5:6379\n")
    keeper.chmod(0o755)
    command = f"""import sys
from imageserver.cluster.nodes.own_node import OwnNode
from imageserver.settings import Settings
sys.executable = {str(keeper)!r}
OwnNode(Settings(_env_file=None, cluster="head", state_dir={str(tmp_path)!r})).start()
print("imported:", *sorted({{"ray", "requests", "urllib3"}} & set(sys.modules)))"""
    ended = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "bash start_server.sh --join 10.0.0.5:6379\n" in ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1] == "imported:"


def test_a_server_without_cluster_starts_nothing(tmp_path):
    node = own_node.OwnNode(settings(tmp_path, cluster=""))
    node.start()
    node.stop()


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("RPC error: InvalidAuthToken: Authentication token is missing\n", "it has another token"),
        (
            "Traceback (most recent call last):\nRuntimeError: Failed to connect to GCS. Last\n",
            "nothing answers there.",
        ),
        ("INFO\n\x1b[31mRay version mismatch: 2.60.0 and 2.61.0\x1b[0m\n\n", "Ray version mismatch: 2.60.0 and 2.61.0"),
    ],
)
def test_what_ray_complains_about_in_pages_is_one_sentence(tmp_path, monkeypatch, output, sentence):
    keeper = NodeKeeper(Node(settings(tmp_path)))
    monkeypatch.setattr(Node, "log_file", tmp_path / "node.log")
    (tmp_path / "node.log").write_text(output)
    assert keeper._complaint().startswith(sentence)
    assert node_keeper.STARTED not in keeper._output()


@pytest.mark.parametrize(
    ("own", "advice"),
    [
        (("2.60.0", "3.12.1"), "delete .venv there, and put PYTHON=python3.11 before the line that starts it, once."),
        (("2.61.0", "3.11.7"), "install the same requirements there."),
    ],
)
def test_a_machine_with_another_python_is_told_what_to_do_and_another_patch_level_joins(
    tmp_path, monkeypatch, own, advice
):
    from ray._private import utils

    for name, value in membership.environment(settings(tmp_path)).items():
        monkeypatch.setenv(name, value)
    head = {"ray_version": "2.60.0", "python_version": "3.11.7"}
    monkeypatch.setattr(utils, "compute_version_info", lambda: ("2.60.0", "3.11.2"))
    utils.check_version_info(head, "node 127.0.0.2")
    monkeypatch.setattr(utils, "compute_version_info", lambda: own)
    with pytest.raises(RuntimeError) as refused:
        utils.check_version_info(head, "node 127.0.0.2")
    keeper = NodeKeeper(Node(settings(tmp_path)))
    monkeypatch.setattr(Node, "log_file", tmp_path / "node.log")
    (tmp_path / "node.log").write_text(f"Traceback:\n  File x\nRuntimeError: {refused.value}\n")
    assert keeper._complaint() == f"it has Ray 2.60.0 and Python 3.11.7, this machine {own[0]} and {own[1]}: {advice}"


def test_a_machine_whose_head_is_gone_says_that_it_goes_on_trying(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(node_keeper, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(Node, "log_file", tmp_path / "node.log")
    (tmp_path / "node.log").write_text("RuntimeError: Failed to connect to GCS. Last\n")
    ended = SimpleNamespace(poll=lambda: 1)
    monkeypatch.setattr(Node, "start", lambda self: ended)
    rounds = iter([True, True, False, False])
    NodeKeeper(Node(settings(tmp_path, cluster="10.0.0.5:6379"))).keep(lambda: next(rounds))
    sentence = "This machine tries to join the cluster at 10.0.0.5:6379 again until it can: nothing answers there."
    assert [record.message for record in caplog.records] == [sentence] * 2
