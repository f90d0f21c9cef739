"""A run of some of the tests installs nothing that only the others need."""

import os
import shutil
import subprocess

import pytest

from tests.support.paths import ROOT

# In place of the real ones: they do nothing, and do it well.
PROGRAMS = {
    "programs": ["npm", "chromium", "firefox-esr", "nginx", "caddy", "prometheus", "debootstrap"],
    ".venv/bin": ["python", "mypy", "ruff", "lint-imports", "codespell"],
}


@pytest.mark.parametrize(("arguments", "installs"), [([], True), (["--fast"], False), (["tests/unit"], False)])
def test_only_a_whole_run_in_the_full_mode_asks_for_debootstrap(tmp_path, arguments, installs):
    shutil.copy(ROOT / "run_tests.sh", tmp_path)
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    (tmp_path / "start_server.sh").touch()
    for folder, names in PROGRAMS.items():
        (tmp_path / folder).mkdir(parents=True)
        for name in names:
            (tmp_path / folder / name).write_text("#!/bin/sh\n")
            (tmp_path / folder / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path / 'programs'}:{os.environ['PATH']}", "QIS_FULL": "1"}
    command = ["bash", "run_tests.sh", *arguments]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30)
    assert said.returncode == 0, said.stdout + said.stderr
    assert ("== debootstrap: passed" in said.stdout) is installs
