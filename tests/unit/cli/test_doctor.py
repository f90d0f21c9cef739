"""`doctor` says what a machine can serve, and what is missing, in a sentence that helps."""

import json
import socket
import subprocess
import sys

import pytest

from imageserver.cli import doctor, machine
from imageserver.protocol.finding import Finding
from imageserver.settings import Settings
from tests.support.paths import ROOT
from tests.support.server import free_port


@pytest.fixture
def told(monkeypatch, capsys):
    """Return what the command prints, and its exit status, when machine and engine say this."""

    def run(*findings, as_json=True):
        monkeypatch.setattr(doctor, "load_settings", lambda: Settings(_env_file=None, model="mine"))
        monkeypatch.setattr(doctor, "_inspect", lambda settings: iter(findings))
        status = doctor.doctor(as_json=as_json)
        return status, capsys.readouterr().out

    return run


def states(settings):
    return {finding.name: (finding.state, finding.sentence) for finding in machine.inspect(settings)}


def test_a_machine_without_problems_can_serve_whatever_it_warns_of(told):
    status, output = told(Finding("python", "ok", "Fine."), Finding("fonts", "warning", "Few."))
    answer = json.loads(output)
    assert (status, answer["can_serve"], answer["conclusion"]) == (0, True, "This machine can serve MODEL=mine.")
    assert answer["findings"][1] == {"name": "fonts", "state": "warning", "sentence": "Few."}


def test_with_a_problem_the_last_line_says_what_to_do(told):
    status, output = told(Finding("ram", "ok", "Fine."), Finding("disk", "problem", "Free some."), as_json=False)
    assert status == 1
    assert output.splitlines() == [
        "ok       ram      Fine.",
        "problem  disk     Free some.",
        "This machine cannot serve MODEL=mine now. Free some.",
    ]


def test_a_taken_port_and_an_open_host_are_problems(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        state, sentence = states(Settings(_env_file=None, port=port))["address"]
    assert state == "problem"
    assert sentence.startswith(f"Port {port} is already in use: stop the other program, or choose another port: PORT=")
    state, sentence = states(Settings(_env_file=None, port=port, host="0.0.0.0"))["address"]
    assert (state, "ALLOW_OPEN=1" in sentence) == ("problem", True)
    assert states(Settings(_env_file=None, port=free_port()))["address"][0] == "ok"


def test_missing_fonts_are_a_warning_and_a_full_disk_is_a_problem(monkeypatch):
    monkeypatch.setattr(machine.overlay, "has_font_for", lambda letter, path: False)
    monkeypatch.setattr(machine, "MIN_FREE_DISK_BYTES", 2**80)
    found = states(Settings(_env_file=None, port=free_port()))
    assert (found["fonts"][0], found["disk"][0]) == ("warning", "problem")
    assert "FONT_PATH" in found["fonts"][1]


def test_an_engine_that_cannot_start_is_a_problem_with_its_reason(monkeypatch):
    monkeypatch.setattr(doctor, "INSPECTION", "imageserver.engine.nowhere")
    [finding] = doctor._inspect_engine(Settings(_env_file=None))
    assert finding.state == "problem"
    assert "No module named imageserver.engine.nowhere" in finding.sentence


def test_the_command_finds_that_the_demo_model_can_be_served(tmp_path, monkeypatch):
    for name, value in {"MODEL": "demo", "DEVICE": "cpu", "PORT": str(free_port()), "OFFLINE": "1"}.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, ROOT / "qwen_image_server.py", "doctor", "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    answer = json.loads(ended.stdout)
    assert (ended.returncode, answer["can_serve"]) == (0, True), ended.stderr
    names = [finding["name"] for finding in answer["findings"]]
    assert names == ["python", "ram", "disk", "address", "fonts", "torch", "device", "model", "files", "memory"]
