"""The documentation is true: its examples run, its tables are the code's own, the messages it quotes exist.

The tables between `<!-- generated: … -->` marks are written by `python tests/integration/test_readme.py`.
"""

import ast
import io
import json
import os
import re
import subprocess
import sys
import types
import typing
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from flask import Flask  # noqa: E402
from pydantic import AliasChoices  # noqa: E402

import aspect_ratios  # noqa: E402
from imageserver.api import routes  # noqa: E402
from imageserver.api.inputs import generate_request  # noqa: E402
from imageserver.errors import BY_CODE  # noqa: E402
from imageserver.generation import POSITIVE_MAGIC  # noqa: E402
from imageserver.settings import Settings  # noqa: E402

README = ROOT / "README.md"
DIALECTS = ROOT / "docs" / "dialects.md"
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
PAGES = sorted([README, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
EXAMPLES = sorted((ROOT / "examples").glob("*.sh")) + sorted((ROOT / "examples").glob("*.py"))
ADDRESS = "localhost:5000"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GENERATED = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
# Variables in the pages that the server itself does not read.
OTHER_VARIABLES = {"PYTHON", "TORCH_INDEX_URL", "TMPDIR", "QIS_FULL", "OMP_WAIT_POLICY"}


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def settings_table() -> str:
    """Return every setting with its default and its sentence."""
    rows = []
    for field, information in Settings.model_fields.items():
        alias = information.validation_alias
        names = [str(name) for name in alias.choices] if isinstance(alias, AliasChoices) else [field.upper()]
        also = f" Also read as {' or '.join(f'`{name}`' for name in names[1:])}." if names[1:] else ""
        rows.append([f"`{names[0]}`", _default(information.default), f"{information.description}{also}"])
    return table(["Setting", "Default", "Meaning"], rows)


def parameters_table() -> str:
    """Return every parameter of /generate; a default that the loaded model decides is the one for Qwen-Image."""
    usual, _ = generate_request.resolve(generate_request.GenerateBody(prompt="x"), Settings(_env_file=None), None)
    decided = {"num_inference_steps": usual.steps, "true_cfg_scale": usual.true_cfg_scale}
    rows = []
    for name, information in generate_request.GenerateBody.model_fields.items():
        if information.is_required():
            default = "**required**"
        elif name in decided:
            default = f"`{decided[name]}`"
        else:
            default = "" if information.default is None else f"`{json.dumps(information.default)}`"
        rows.append([f"`{name}`", _type_name(information.annotation), default, information.description or ""])
    return table(["Parameter", "Type", "Default", "Description"], rows)


def errors_table() -> str:
    """Return every failure's status, code and meaning."""
    errors = sorted(BY_CODE.values(), key=lambda error: (error.status, error.code))
    rows = [[str(error.status), f"`{error.code}`", (error.__doc__ or "").splitlines()[0]] for error in errors]
    return table(["Status", "Code", "Meaning"], rows)


def endpoints_of(*, sdapi: bool) -> list[list[str]]:
    """Return method, path and sentence of every route, those of AUTOMATIC1111's API or all others."""
    app = Flask("table", static_folder=None)
    routes.register(app, Settings(_env_file=None))
    rows = []
    for rule in app.url_map.iter_rules():
        if (rule.endpoint.startswith("automatic1111.")) == sdapi:
            sentence = (app.view_functions[rule.endpoint].__doc__ or "").splitlines()[0]
            path = re.sub(r"<\w+:", "<", rule.rule)
            rows += [[method, f"`{path}`", sentence] for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}]
    return sorted(rows, key=lambda row: (row[1], row[0]))


def endpoints_table() -> str:
    """Return every address but those of AUTOMATIC1111's API."""
    return table(["Method", "Path", "What it does"], endpoints_of(sdapi=False))


def sdapi_table() -> str:
    """Return every address of AUTOMATIC1111's API."""
    return table(["Method", "Path", "What it does"], endpoints_of(sdapi=True))


TABLES = {
    "settings": settings_table,
    "parameters": parameters_table,
    "errors": errors_table,
    "endpoints": endpoints_table,
    "sdapi": sdapi_table,
}


def with_tables(text: str) -> str:
    """Return a page with its generated tables as they should be."""
    return GENERATED.sub(lambda match: match[1] + TABLES[match[2]]() + match[3], text)


def _default(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f"`{int(value)}`"
    return f"`{value:.15g}`" if isinstance(value, float) else f"`{value}`"


def _type_name(annotation: Any) -> str:
    if typing.get_origin(annotation) is typing.Annotated:
        return _type_name(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) is typing.Literal:
        return "string"
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return _type_name(next(part for part in typing.get_args(annotation) if part is not type(None)))
    if typing.get_origin(annotation) is list:
        return "list"
    return {str: "string", int: "int", float: "float", bool: "bool"}[annotation]


def rows_of(text: str, first_header: str) -> list[list[str]]:
    """Return the cells of the one table whose first column has this header."""
    lines = text.splitlines()
    start = lines.index(next(line for line in lines if line.startswith(f"| {first_header} |")))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_the_generated_tables_are_those_of_the_code():
    texts = [page.read_text(encoding="utf-8") for page in (README, DIALECTS)]
    assert {match[2] for text in texts for match in GENERATED.finditer(text)} == set(TABLES)
    assert texts == [with_tables(text) for text in texts], "run: python tests/integration/test_readme.py"


def test_the_aspect_ratio_table_has_every_name_and_size():
    rows = rows_of(README.read_text(encoding="utf-8"), "Name")
    sizes = {name: f"{width}×{height}" for name, (width, height) in aspect_ratios.ASPECT_RATIOS.items()}
    assert {row[0].strip("`"): row[1] for row in rows} == sizes


def test_the_limits_named_in_the_text_are_the_limits():
    text = README.read_text(encoding="utf-8")
    assert f"{generate_request.MIN_SIDE} to {generate_request.MAX_SIDE} pixels" in text
    assert all(f"`{suffix}`" in text for suffix in POSITIVE_MAGIC.values())


def test_the_endpoint_tables_are_what_the_server_offers(fake_server):
    offered = fake_server.get("/").json()["endpoints"]
    routes = {(method, re.sub(r"<\w+:", "<", route["path"])) for route in offered for method in route["methods"]}
    rows = endpoints_of(sdapi=False) + endpoints_of(sdapi=True)
    assert {(row[0], row[1].strip("`")) for row in rows} == routes


def test_the_header_table_is_what_an_answer_carries(fake_server):
    answer = fake_server.generate(guidance_scale=3.5)
    assert answer.status_code == 200, answer.text
    sent = {name for name in answer.headers if name.startswith("X-")} - {"X-Content-Type-Options"}
    assert {row[0].strip("`") for row in rows_of(README.read_text(encoding="utf-8"), "Header")} == sent


def test_the_key_table_is_what_save_to_file_answers(fake_server):
    answer = fake_server.generate(save_to_file=True)
    assert answer.status_code == 200, answer.text
    assert {row[0].strip("`") for row in rows_of(README.read_text(encoding="utf-8"), "Key")} == answer.json().keys()


def test_a_failure_looks_as_documented(fake_server):
    shown = json.loads(next(body for kind, body in blocks(README) if kind == "json" and '"code"' in body))
    sent = fake_server.generate(aspect_ratio="5:4")
    assert sent.status_code == 400
    assert sent.json() | {"request_id": shown["request_id"]} == shown


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the (language, content) of every fenced block."""
    return [(match[1], match[2]) for match in BLOCK.finditer(page.read_text(encoding="utf-8"))]


def runnable() -> list[Any]:
    """Return every example that talks to a server on the documented address."""
    found = [
        pytest.param(language, content, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, (language, content) in enumerate(blocks(page))
        if language in ("bash", "python") and ADDRESS in content and "test_" not in content
    ]
    files = [
        pytest.param({".sh": "bash", ".py": "python"}[file.suffix], file.read_text(encoding="utf-8"), id=file.name)
        for file in EXAMPLES
    ]
    return found + files


def run_example(language: str, content: str, server: Any, folder: Path) -> str:
    """Run an example in `folder` against `server`; it must succeed. Return what it printed."""
    content = content.replace(ADDRESS, f"127.0.0.1:{server.port}")
    command = ["bash", "-eu", "-c", content] if language == "bash" else [sys.executable, "-c", content]
    environment = os.environ | {"NO_PROXY": "*", "no_proxy": "*"}
    outcome = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


@pytest.mark.parametrize(("language", "content"), runnable())
def test_every_example_runs(language, content, fake_server, tmp_path):
    printed = run_example(language, content, fake_server, tmp_path)
    assert '"error"' not in printed
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert printed or files
    assert set(re.findall(r"--output (\S+)", content)) <= {file.name for file in files}
    for file in files:
        if file.suffix == ".zip":
            with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as archive:
                assert archive.testzip() is None
        else:
            with Image.open(file) as image:
                image.load()
                assert image.format == {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}[file.suffix]


def test_the_first_example_gives_a_red_circle_on_blue_with_the_panel(demo_server, tmp_path):
    language, content = next(
        (kind, content) for kind, content in blocks(README) if "a red circle on a blue background" in content
    )
    run_example(language, content, demo_server, tmp_path)
    with Image.open(tmp_path / "image.png") as image:
        assert image.size == (512, 512)
        red, green, blue = np.moveaxis(np.asarray(image.convert("RGB"), np.float32), 2, 0)
    reddish = (red > 120) & (red > 2 * np.maximum(green, blue))
    blueish = (blue > 80) & (blue > 1.5 * red)
    letters = np.minimum(np.minimum(red, green), blue)[:128, 342:] > 200
    assert 0.03 < reddish.mean() < 0.6, "there is no red circle"
    assert blueish.mean() > 0.3, "the background is not blue"
    # Without the panel nothing there is nearly white.
    assert letters.mean() > 0.005, "there is no panel"


def messages_of_the_code() -> str:
    """Return every text of our code with its variable parts as `…`."""
    texts = []
    for file in [*ROOT.glob("*.py"), *(ROOT / "imageserver").rglob("*.py"), *(ROOT / "tools").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
                texts.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(re.sub(r"%(s|d|\.\df)", "…", node.value))
    return "\n".join([*texts, (ROOT / "start_server.sh").read_text(encoding="utf-8")])


def test_every_quoted_message_is_one_of_ours():
    known = messages_of_the_code()
    quoted = re.findall(r"^> (.*)$", TROUBLESHOOTING.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(quoted) >= 10
    assert [message for message in quoted if message not in known] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_variable_is_a_setting(page):
    known = set(OTHER_VARIABLES)
    for field, information in Settings.model_fields.items():
        alias = information.validation_alias
        known |= {str(name) for name in alias.choices} if isinstance(alias, AliasChoices) else {field.upper()}
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"\b([A-Z][A-Z_]{2,})=", text)) - known == set()


def sections_of(page: Path) -> set[str]:
    """Return what the headings of a page are linked by."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    missing = []
    for target, _, section in re.findall(r"\]\(([^)#\s]*)(#([\w-]+))?\)", text):
        file = page.parent / target if target else page
        if "://" not in target and not (file.exists() and (not section or section in sections_of(file))):
            missing.append(f"{target}#{section}")
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page):
    named = re.findall(
        r"`((?:imageserver|tests|tools|examples|docs)/[\w./-]+|\w+\.(?:py|sh|bat))`", page.read_text("utf-8")
    )
    rooms = ("imageserver", "tools", "benchmarks")
    inside = {file.name for room in rooms for file in (ROOT / room).rglob("*.py")}
    assert [name for name in named if not (ROOT / name).exists() and name not in inside] == []


@pytest.mark.parametrize(
    "script", ["test_client.py", "test_connectivity.py", "test_concurrent.py", "qwen_image_server.py"]
)
def test_every_option_of_a_script_exists(script):
    lines = [line for _, content in blocks(README) for line in content.splitlines() if script in line]
    assert lines, f"README.md does not show {script}"
    command = [sys.executable, script, *(["generate"] if script == "qwen_image_server.py" else []), "--help"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    options = {option for line in lines for option in re.findall(r"\s(--[\w-]+)", line)}
    assert {option for option in options if option not in answer} == set()


if __name__ == "__main__":
    for written in (README, DIALECTS):
        written.write_text(with_tables(written.read_text(encoding="utf-8")), encoding="utf-8")
