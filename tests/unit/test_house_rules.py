"""The house rules that no linter knows, each as one test; a broken rule is named with its file and line."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project_files import ROOT, name_of, our_files, parsed, python_files, top_folder

THIS_FILE = Path(__file__).resolve()
ENGINE = ROOT / "imageserver" / "engine"
CODE = {".py", ".js", ".sh", ".bat"}
TEXT = CODE | {".md", ".toml", ".txt", ".yaml", ".yml", ".html", ".css", ".svg", ".json", ".example", ".cfg", ".ini"}
MAX_FILE_LINES = 400
MAX_SILENT_LINES = 15
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
SAYS_NOTHING = re.compile("a|all|an|and|are|as|for|from|given|in|into|is|it|its|mak|of|on|return|set|th|to|yield")

MODEL_LIBRARIES = {"torch", "torchvision", "diffusers", "transformers", "accelerate", "peft", "modelscope"}
HTTP_LIBRARIES = {"flask", "gevent", "gunicorn", "werkzeug"}
MEANINGLESS = {
    "utils", "util", "utilities", "helpers", "helper", "common", "core", "base", "misc", "manager", "managers",
}  # fmt: skip
EMOJI = re.compile("[\U0001f000-\U0001faff\u2600-\u27bf\u2b50\u2b55\ufe0f]")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(?!\(#\d+\))")
OUR_MACHINES = re.compile(r"(?<![\w.])/(?:work|root|home/[a-z]\w*|Users/[A-Za-z]\w*)/|[A-Z]:\\Users\\\w|\.\./shared\b")
# What others have written goes through the first, which escapes it; the last two print only what is ours.
COMMANDS = ("terminal/output", "terminal/images", "commands/completion", "commands/keys")
MAY_PRINT = {"imageserver/startup.py"} | {f"imageserver/cli/{name}.py" for name in COMMANDS}


def _imported(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the top-level package of every import, wherever in the file it stands."""
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module.split(".")[0]


def _public_definitions(tree: ast.Module) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield public classes, functions and methods, but nothing inside a function or a private class."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                waiting.extend(node.body)


def _length(node: ast.AST) -> int:
    return node.end_lineno - node.lineno + 1  # type: ignore[attr-defined]


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    arguments = [argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]]
    return " ".join([node.name, *arguments, ast.unparse(node.returns) if node.returns else ""])


def _stems(text: str) -> set[str]:
    """Return the words of a text that mean something, without their endings."""
    stems = {re.sub("(?<=...)(ing|ied|ies|ed|es|s|e)$", "", word.lower()) for word in WORD.findall(text)}
    return {stem for stem in stems if not SAYS_NOTHING.fullmatch(stem)}


def _matching_lines(pattern: re.Pattern[str], files: list[Path]) -> list[str]:
    return [
        f"{name_of(file)}:{number}: {line.strip()[:100]}"
        for file in files
        if file != THIS_FILE
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]


def _import_in_fresh_interpreter(statement: str, folder: Path) -> dict[str, list[str]]:
    """Run an import in `folder` and return the modules, threads and files that are there afterwards."""
    program = (
        f"import json, os, sys, threading\n{statement}\n"
        "print(json.dumps({'modules': sorted({name.split('.')[0] for name in sys.modules}),"
        " 'threads': [t.name for t in threading.enumerate()], 'files': os.listdir('.')}))"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    outcome = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr == ""
    state: dict[str, list[str]] = json.loads(outcome.stdout)  # a second line would be no JSON: nothing was printed
    return state


def test_no_leftover_of_a_merge_is_in_the_repository():
    assert [name_of(file) for file in our_files() if file.suffix in {".orig", ".rej"}] == []


def test_no_file_of_ours_is_longer_than_400_lines():
    lengths = {name_of(file): file.read_bytes().count(b"\n") for file in our_files() if file.suffix in CODE}
    assert {name: length for name, length in lengths.items() if length > MAX_FILE_LINES} == {}


def test_every_module_public_class_and_longer_public_function_has_a_docstring():
    silent = []
    for file in python_files("imageserver", "tools", "."):
        tree = parsed(file)
        if not ast.get_docstring(tree):
            silent.append(name_of(file))
        silent += [
            f"{name_of(file)}:{node.lineno} {node.name}"
            for node in _public_definitions(tree)
            if isinstance(node, ast.ClassDef) or _length(node) > MAX_SILENT_LINES
            if not ast.get_docstring(node)
        ]
    assert silent == []


def test_no_docstring_repeats_the_name_of_its_function():
    empty = [
        f"{name_of(file)}:{node.lineno} {node.name}: {docstring}"
        for file in python_files("imageserver", "tools", "benchmarks", ".")
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (docstring := ast.get_docstring(node)) and _stems(docstring) <= _stems(_signature(node))
    ]
    assert empty == []


def test_every_room_says_its_purpose_and_what_it_may_import():
    rooms = {file.parent for file in python_files("imageserver")}
    silent = []
    for room in rooms:
        entrance = room / "__init__.py"
        purpose = (ast.get_docstring(parsed(entrance)) or "") if entrance.is_file() else ""
        is_room = room.parent == ROOT / "imageserver"
        if not purpose or (is_room and "import" not in purpose):
            silent.append(name_of(room))
    assert silent == []


def test_what_is_unfinished_names_its_issue():
    files = [file for file in our_files() if file.suffix in TEXT - {".json", ".txt"}]
    assert _matching_lines(UNFINISHED, files) == []


def test_modules_and_classes_are_named_by_what_they_are():
    vague = []
    for file in python_files("imageserver", "tools", "examples", "benchmarks", "."):
        names = [part for part in Path(name_of(file)).with_suffix("").parts if part != "__init__"]
        names += [node.name for node in ast.walk(parsed(file)) if isinstance(node, ast.ClassDef)]
        for name in names:
            words = {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
            if words & MEANINGLESS:
                vague.append(f"{name_of(file)}: {name}")
    assert vague == []


def test_there_is_no_emoji_outside_of_test_data():
    files = [file for file in our_files() if file.suffix in TEXT - {".json", ".txt"} and top_folder(file) != "tests"]
    assert _matching_lines(EMOJI, files) == []


def test_only_the_engine_imports_torch_and_its_family():
    found = [
        f"{name_of(file)}:{line} {package}"
        for file in python_files("imageserver", ".")
        if ENGINE not in file.parents
        for line, package in _imported(file)
        if package in MODEL_LIBRARIES
    ]
    assert found == []


def test_only_the_api_and_the_entry_know_http():
    found = [
        f"{name_of(file)}:{line} {package}"
        for file in python_files("imageserver", ".")
        if not name_of(file).startswith(("imageserver/api/", "imageserver/cli/", "imageserver/app.py"))
        for line, package in _imported(file)
        if package in HTTP_LIBRARIES
    ]
    assert found == []


def test_importing_the_entry_has_no_side_effects_and_brings_neither_torch_nor_flask(tmp_path):
    state = _import_in_fresh_interpreter("import qwen_image_server", tmp_path)
    assert set(state["modules"]) & (MODEL_LIBRARIES | HTTP_LIBRARIES) == set()
    assert state["threads"] == ["MainThread"]
    assert state["files"] == []


@pytest.mark.parametrize("room", ["api", "dispatch", "imaging", "outputs", "telemetry"])
def test_importing_every_file_of_a_room_brings_no_torch_and_starts_nothing(room, tmp_path):
    # The __main__ files run when they are imported.
    names = [
        name_of(file)[: -len(".py")].replace("/", ".").removesuffix(".__init__")
        for file in python_files("imageserver")
        if file.relative_to(ROOT).parts[1] == room and file.stem != "__main__"
    ]
    state = _import_in_fresh_interpreter(f"import {', '.join(sorted(names))}", tmp_path)
    assert set(state["modules"]) & (MODEL_LIBRARIES | {"huggingface_hub"}) == set()
    assert state["threads"] == ["MainThread"]
    assert state["files"] == []


def test_no_text_names_a_folder_of_somebody_s_own_machine():
    files = [file for file in our_files() if file.suffix in TEXT or file.name in (".gitignore", "run")]
    assert _matching_lines(OUR_MACHINES, files) == []


def test_the_machinery_logs_and_does_not_print():
    printed = [
        f"{name_of(file)}:{node.lineno}"
        for file in python_files("imageserver")
        if name_of(file) not in MAY_PRINT
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "pprint")
    ]
    assert printed == []


def test_there_is_one_way_to_open_a_database_and_one_to_write_a_file_whole():
    lines = _matching_lines(
        re.compile(r"sqlite3\.connect|mkstemp|os\.(rename|replace|link)\b"), python_files("imageserver")
    )
    assert {line.partition(":")[0] for line in lines} == {"imageserver/outputs/state.py", "imageserver/atomic_write.py"}
