"""The project's own files, for the tests that check their rules."""

import ast
import functools
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT


@functools.cache
def our_files() -> list[Path]:
    """Return every file of the project that git does not ignore."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    files = [ROOT / name for name in listing.stdout.split("\0") if name]
    return [file for file in files if file.is_file()]


def python_files(*folders: str) -> list[Path]:
    """Return the project's Python files; with `folders`, those inside one of them ("." is the top alone)."""
    files = [file for file in our_files() if file.suffix == ".py"]
    return [file for file in files if not folders or top_folder(file) in folders]


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def top_folder(file: Path) -> str:
    parts = file.relative_to(ROOT).parts
    return parts[0] if len(parts) > 1 else "."


@functools.cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
