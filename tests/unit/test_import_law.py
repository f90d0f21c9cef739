"""The import contracts leave no file unguarded: a stray module in any package breaks them."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.support.project_files import ROOT

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]


def layers_of(container: str) -> set[str]:
    contract = next(each for each in CONTRACTS if each.get("containers") == [container])
    assert contract["exhaustive"]
    return {name.strip(" ()") for layer in contract["layers"] for name in layer.replace("|", ":").split(":")}


def broken_by_strays(folder: Path, content: str) -> tuple[set[str], str]:
    """Add stray.py to every package of a copy; return the strays, and what lint-imports says of them."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors", "files")
    shutil.copytree(ROOT / "imageserver", folder / "imageserver", ignore=ignored)
    strays = set()
    for entrance in [*(folder / "imageserver").rglob("__init__.py")]:
        stray = entrance.with_name("stray.py")
        stray.write_text(content, encoding="utf-8")
        strays.add(".".join(stray.relative_to(folder).with_suffix("").parts))
    outcome = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert outcome.returncode == 1, outcome.stdout
    return strays, outcome.stdout


def test_a_stray_module_beside_the_rooms_must_be_declared(tmp_path):
    _, report = broken_by_strays(tmp_path, '"""Nothing."""\n')
    undeclared = {line.removeprefix("- ") for line in report.splitlines() if line.endswith(".stray")}
    assert undeclared == {
        f"imageserver{room}.stray" for room in ("", ".api", ".cluster", ".dispatch", ".dispatch.seats", ".engine")
    }


def test_a_stray_module_in_any_package_may_not_import_upwards(tmp_path):
    strays, report = broken_by_strays(tmp_path, "import imageserver.cli.main\nimport qwen_image_server\n")
    assert {stray for stray in strays if f"{stray} -> " not in report} == set()


def test_every_room_is_in_the_lists_of_what_may_not_import_torch_and_flask():
    rooms = {f"imageserver.{name}" for name in layers_of("imageserver") - {"demo_model", "controls", "loras"}}
    sources = {each["id"]: set(each["source_modules"]) for each in CONTRACTS if each["type"] == "forbidden"}
    assert rooms - sources["torch"] == {"imageserver.engine"}
    assert rooms - sources["http"] == {"imageserver.api", "imageserver.app", "imageserver.cli"}
