"""The wheel, installed where there is no checkout: complete, and nothing is written among the packages."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import venv
import zipfile
from pathlib import Path

import pytest
import requests
from PIL import Image

from tests.support.paths import ROOT
from tests.support.server import free_port

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q"]
# Of an engine that does not measure batches of large images first.
SETTINGS = "MODEL=demo\nOFFLINE=1\nMAX_PIXELS=262144\n"


def tracked_files() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listing.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy, because setuptools leaves its own folders beside what it builds."""
    copy = tmp_path_factory.mktemp("copy")
    for name in tracked_files():
        if name.startswith("imageserver/") or "/" not in name:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    subprocess.run([*PIP, "wheel", ".", "--no-deps", "--no-build-isolation", "-w", "dist"], cwd=copy, check=True)
    [wheel] = (copy / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """Install the wheel into an environment of its own, which sees the packages of this one, but not the project."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    python = folder / "bin" / "python"
    subprocess.run([*PIP, "--python", str(python), "install", "--no-deps", "--no-compile", str(wheel)], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.fixture
def folder(tmp_path):
    """The folder a user works in, with a file that Python would find before its own module."""
    (tmp_path / ".env").write_text(SETTINGS)
    (tmp_path / "tokenize.py").write_text("raise SystemExit('imported from the folder of the user')")
    return tmp_path


def files_of(environment: Path) -> set[Path]:
    return {path for path in environment.rglob("*") if path.is_file()}


def command(environment: Path, folder: Path, *arguments: str, **settings: str) -> subprocess.Popen[bytes]:
    """Run the installed command in a folder, without what this shell says to servers and to Python."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "OMP_NUM_THREADS") if name in os.environ}
    return subprocess.Popen(
        [environment / "bin" / "qwen-image-server", *arguments],
        cwd=folder, env=kept | {"PYTHONDONTWRITEBYTECODE": "1"} | settings,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_the_wheel_has_every_file_of_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    assert {name for name in tracked_files() if name.startswith("imageserver/")} <= packed
    assert not [name for name in packed if name.startswith(("tests/", "benchmarks/", "tools/"))]


def test_the_command_generates_an_image_in_any_folder(environment, folder):
    before = files_of(environment)
    process = command(environment, folder, "generate", "a red circle", "-o", "x.png", "--steps", "4")
    answer, log = process.communicate(timeout=90)
    assert process.returncode == 0, log
    told = json.loads(answer)
    assert (told["file"], told["seed"], told["model"]) == ("x.png", 42, "demo")
    with Image.open(folder / "x.png") as image:
        assert (image.format, image.size) == ("PNG", (512, 512))
    assert files_of(environment) == before


def test_without_the_engines_packages_the_sentence_says_how_to_install_them(environment, folder):
    (folder / "start").mkdir()
    (folder / "start" / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None")
    process = command(environment, folder, "generate", "a red circle", PYTHONPATH=str(folder / "start"))
    _, log = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"pip install 'qwen-image-server[engine]'" in log.splitlines()[-1]


def test_the_command_serves_its_page_and_keeps_its_state_in_the_folder_it_is_started_in(environment, folder):
    before, port = files_of(environment), free_port()
    (folder / ".env").write_text(f"{SETTINGS}PORT={port}\n")
    with command(environment, folder, "serve") as process:
        try:
            while not (page := page_of(port)):
                assert process.poll() is None
                time.sleep(0.05)
        finally:
            process.terminate()
    assert "<title>" in page
    assert (folder / "state" / "state.sqlite").exists()
    assert files_of(environment) == before


def page_of(port: int) -> str:
    try:
        return requests.get(f"http://127.0.0.1:{port}/", headers={"Accept": "text/html"}, timeout=20).text
    except requests.ConnectionError:
        return ""
