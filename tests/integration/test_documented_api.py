"""What the docs show works: their examples run, and answers look as the docs say."""

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.docs import PAGES, blocks, rows_of
from tests.support.paths import ROOT
from tools import generate_docs

README = ROOT / "README.md"
API = ROOT / "docs" / "api.md"
EXAMPLES = sorted((ROOT / "examples").glob("*.sh")) + sorted((ROOT / "examples").glob("*.py"))
ADDRESS = "localhost:5000"


def test_the_tables_of_routes_are_what_the_server_offers(fake_server):
    offered = fake_server.get("/").json()["endpoints"]
    routes = {(method, re.sub(r"<\w+:", "<", route["path"])) for route in offered for method in route["methods"]}
    rows = generate_docs.routes_of(automatic1111=False) + generate_docs.routes_of(automatic1111=True)
    assert {(row[0], row[1].strip("`")) for row in rows} == routes


def test_the_header_table_is_what_an_answer_carries(fake_server):
    answer = fake_server.generate(guidance_scale=3.5)
    assert answer.status_code == 200, answer.text
    sent = {name for name in answer.headers if name.startswith(("X-", "Server-T"))} - {"X-Content-Type-Options"}
    assert {row[0].strip("`") for row in rows_of(API, "Header")} == sent


def test_the_key_table_is_what_save_to_file_answers(fake_server):
    answer = fake_server.generate(save_to_file=True)
    assert answer.status_code == 200, answer.text
    assert {row[0].strip("`") for row in rows_of(API, "Key")} == answer.json().keys()


def test_a_failure_looks_as_documented(fake_server):
    shown = json.loads(next(body for kind, body in blocks(API) if kind == "json" and '"code"' in body))
    sent = fake_server.generate(aspect_ratio="5:4")
    assert sent.status_code == 400
    assert sent.json() | {"request_id": shown["request_id"]} == shown


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
