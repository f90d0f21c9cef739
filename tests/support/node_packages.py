"""The packages of Node that tests need: `run_tests.sh` installs them, and a fresh worktree has none."""

import shutil
from pathlib import Path

import pytest


def node_package(folder: Path, name: str) -> Path:
    """Return where a package is installed for the tests in a folder.

    Skips the test on a machine without npm; fails it where only the package is missing, or nobody would see that the
    test never ran.
    """
    if shutil.which("npm") is None:
        pytest.skip(f"{name} is not installed, and neither is npm, with which run_tests.sh installs it")
    package = folder / "node_modules" / name
    if not package.is_dir():
        pytest.fail(
            f"{name} is not installed: run `npm install --prefix {folder}`, as run_tests.sh does.", pytrace=False
        )
    return package
