"""Compares what two machines have installed: they exchange messages and must generate the same bytes."""

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version

from imageserver import __version__
from imageserver.settings import PACKAGE_DIR

# A front without the engine's packages has only the first two.
PACKAGES = ("ray", "msgspec", "torch", "diffusers", "transformers")
PYTHON, PROJECT = "python", "qwen-image-server"
REQUIREMENTS = "install the same requirements there"


def versions() -> dict[str, str]:
    """Return the versions of this machine, without those that are not installed; a build of torch does not count."""
    found = {PYTHON: ".".join(platform.python_version_tuple()[:2]), PROJECT: f"{__version__} (code {_code()})"}
    for name in PACKAGES:
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
    return found


def difference(here: dict[str, str], there: dict[str, str], machine: str) -> str | None:
    """Return one sentence about the first version in which a machine differs, or None."""
    for name, ours in here.items():
        theirs = there.get(name)
        if theirs == ours:
            continue
        if theirs is None:
            return f"The machine {machine} has no {name}, this one {ours}: {REQUIREMENTS}."
        advice = {PROJECT: "update it", PYTHON: python_advice(ours)}.get(name, REQUIREMENTS)
        return f"The machine {machine} has {name} {theirs}, this one {ours}: {advice}."
    return None


def python_advice(version: str) -> str:
    """Return what makes the start script use the Python of that version, whose patch level does not matter."""
    name = "python" + ".".join(version.split(".")[:2])
    return f"delete .venv there, and put PYTHON={name} before the line that starts it, once"


def _code() -> str:
    """Return a few digits that differ when the code does: a checkout keeps its version between releases."""
    digest = hashlib.sha256()
    for file in sorted(PACKAGE_DIR.rglob("*.py")):
        digest.update(file.relative_to(PACKAGE_DIR).as_posix().encode())
        digest.update(file.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:8]
