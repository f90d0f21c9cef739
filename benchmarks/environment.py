"""The environment of the servers that we are compared with: `python -m benchmarks --setup` makes it.

It sees the packages of the environment it was made from, and adds the dependency group `benchmarks` of pyproject.toml.
"""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from tools.setup_environment import listed

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / ".venv-benchmarks"
PROJECT_PYTHON = "BENCHMARK_PROJECT_PYTHON"


def set_up(folder: Path) -> None:
    """Create the environment, or bring it up to date."""
    venv.create(folder, with_pip=True)
    purelib = sysconfig.get_path("purelib", vars={"base": str(folder)})
    # Paths of a .pth file come after the folder it lies in, so what is installed here wins.
    Path(purelib, "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = [str(python_of(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*command, "-c", str(ROOT / "constraints.txt"), *listed("dependency-groups", "benchmarks")], check=True
    )
    print(f"The servers to compare with are installed in {folder}.")


def enter(folder: Path, module: str) -> None:
    """Go on as `python -m module` inside the environment, where there is one and this process is outside."""
    python = python_of(folder)
    if not python.exists() or Path(sys.prefix).resolve() == folder.resolve():
        return
    os.environ[PROJECT_PYTHON] = sys.executable
    os.execv(python, [str(python), "-m", module, *sys.argv[1:]])


def python_of(folder: Path) -> Path:
    """Return the environment's interpreter."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
