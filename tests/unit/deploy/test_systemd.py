"""The units of systemd: valid for systemd itself, confined, and patient enough."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from imageserver.settings import Settings, variables_of
from tests.support.paths import ROOT

DEPLOY = ROOT / "deploy"
FOLDER = "/opt/qwen-image-server"
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze (Debian: package systemd)")
LIBRARIES = {"HF_HOME", "MODELSCOPE_CACHE", "HOME", "PYTHONDONTWRITEBYTECODE"}


@pytest.fixture
def units(tmp_path):
    """Return both units, for this checkout instead of the one in /opt."""
    for name in ("qwen-image-server.service", "qwen-image-server.socket"):
        text = (DEPLOY / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace(FOLDER, str(ROOT)))
    return sorted(map(str, tmp_path.iterdir()))


def service():
    return (DEPLOY / "qwen-image-server.service").read_text(encoding="utf-8")


@needs_systemd
def test_systemd_accepts_the_units(units):
    found = subprocess.run([ANALYZE, "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


@needs_systemd
def test_systemd_accepts_the_service_of_a_machine_that_joins(units, tmp_path):
    added = Path(f"{units[0]}.d")
    added.mkdir()
    text = (DEPLOY / "qwen-image-server-join.conf").read_text(encoding="utf-8")
    (added / "join.conf").write_text(text.replace(FOLDER, str(ROOT)))
    found = subprocess.run([ANALYZE, "verify", "--man=no", units[0]], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
    (added / "join.conf").write_text(text.replace(FOLDER, str(tmp_path)))
    found = subprocess.run([ANALYZE, "verify", "--man=no", units[0]], capture_output=True, text=True, check=False)
    assert f"{tmp_path}/.venv/bin/python is not executable" in found.stderr, "it was read"


@needs_systemd
def test_systemd_calls_the_service_well_confined(units):
    found = subprocess.run(
        [ANALYZE, "security", "--offline=yes", units[0]], capture_output=True, text=True, check=False
    ).stdout
    assert float(re.search(r"Overall exposure level for \S+: ([\d.]+)", found)[1]) < 2.5


def test_every_variable_of_the_service_is_a_setting_and_every_folder_one_that_it_may_write():
    pairs = dict(
        pair.split("=", 1) for line in re.findall(r"^Environment=(.*)$", service(), re.M) for pair in line.split()
    )
    known = {name for field in Settings.model_fields for name in variables_of(field)}
    assert set(pairs) - known - LIBRARIES == set()
    folders = [value for value in pairs.values() if value.startswith("/")]
    assert all(re.match(r"/var/(lib|cache)/qwen-image-server(/|$)", folder) for folder in folders)


def test_the_services_user_may_open_debians_cards_and_cuda_finds_its_kernel_module():
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    [groups] = re.findall(r"^useradd --system --groups (\S+) .* qwen-image-server$", operations, re.M)
    assert "video" in groups.split(",")
    assert "NoNewPrivileges=yes\n" in service(), "so no setuid program loads it later"
    # As root and without the confinement (+), and no failure where it is not installed (-).
    assert re.search(r"^ExecStartPre=(-\+|\+-)/usr/bin/nvidia-modprobe .*-u$", service(), re.M)


def test_systemd_leaves_the_dispatcher_and_the_engines_to_gunicorn_and_waits_for_running_generations():
    assert "KillMode=mixed\n" in service()
    seconds = int(re.search(r"^TimeoutStopSec=(\d+)$", service(), re.M)[1])
    assert seconds > Settings(_env_file=None).graceful_timeout


def test_a_machine_that_joins_tries_until_the_head_is_there():
    joining = (DEPLOY / "qwen-image-server-join.conf").read_text(encoding="utf-8")
    assert "StartLimitIntervalSec=0\n" in joining
    assert "Restart=always\n" in joining
    # The settings that the file tells people to write.
    assert "--join ${CLUSTER}\n" in joining
    assert set(re.findall(r"CLUSTER\w*", joining)) <= {name for f in Settings.model_fields for name in variables_of(f)}


def test_the_socket_is_that_of_the_default_address():
    settings = Settings(_env_file=None)
    text = (DEPLOY / "qwen-image-server.socket").read_text(encoding="utf-8")
    assert f"ListenStream={settings.host}:{settings.port}\n" in text
