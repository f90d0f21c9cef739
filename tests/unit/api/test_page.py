"""The web page's files are complete, and its security policy allows all of them."""

import re
from pathlib import PurePosixPath

import pytest
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from imageserver.api.page import views
from imageserver.api.page.files import INDEX, MEDIA, PageFiles
from imageserver.api.page.joined import join_styles

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
FILES = sorted(path for path in views.FOLDER.rglob("*") if path.is_file())
REFERENCE = re.compile(r"(?:href|src)=\"page/([^\"]+)\"")
DECLARED = re.compile(r"\b(?:class|function\*?|const) (\w+)")
EXPORTED = re.compile(rf"^export (?:async )?{DECLARED.pattern}", re.MULTILINE)
IMPORT = re.compile(r"(?:from |import\()\"(\.\.?/[^\"]+)\"")


def name_of(path):
    return path.relative_to(views.FOLDER).as_posix()


@pytest.mark.parametrize("accept", [CHROME, "text/html", "text/html;q=0.9, application/json;q=0.8", "text/*"])
def test_clients_that_prefer_html_get_the_page(accept):
    assert views.is_wanted(parse_accept_header(accept, MIMEAccept))


@pytest.mark.parametrize(
    "accept", [None, "", "*/*", "application/json", "text/html, application/json", "text/html;q=0.5, */*", "image/png"]
)
def test_all_other_clients_get_the_list(accept):
    assert not views.is_wanted(parse_accept_header(accept, MIMEAccept))


def test_every_file_in_the_folder_can_be_served():
    assert {path.suffix for path in FILES} <= MEDIA.keys()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_name_no_other_host(path):
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|[\"'(]//", text)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_files_refer_to_is_there(path):
    text = path.read_text(encoding="utf-8")
    named = [views.FOLDER / name for name in REFERENCE.findall(text)]
    named += [(path.parent / name).resolve() for name in IMPORT.findall(text)]
    assert set(named) <= set(FILES)


def test_every_module_and_style_is_used():
    text = "".join(path.read_text(encoding="utf-8") for path in FILES)
    used = {name.rsplit("/", 1)[-1] for name in REFERENCE.findall(text) + IMPORT.findall(text)}
    assert {path.name for path in FILES if path.suffix in {".js", ".css"}} <= used


def test_no_id_occurs_twice():
    ids = re.findall(r'\sid="([^"]+)"', (views.FOLDER / INDEX).read_text(encoding="utf-8"))
    assert len(ids) == len(set(ids))


def test_files_contain_no_inline_code_that_the_policy_would_block():
    page = (views.FOLDER / INDEX).read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page))
    assert "unsafe" not in views.POLICY


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".js"], ids=name_of)
def test_texts_never_become_markup(path):
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", path.read_text())


def test_the_start_page_names_one_script_and_one_style_sheet_at_addresses_that_never_change():
    files = PageFiles(views.FOLDER)
    page = files.find(INDEX).content.decode()
    named = re.findall(r'(?:href|src)="page/([^"]+)"', page)
    assert all(files.is_versioned(name) and files.find(name) for name in named)
    assert [PurePosixPath(name).name for name in named if name.endswith((".js", ".css"))] == ["page.js", "page.css"]
    script, style = (files.find(name).content.decode() for name in ("page.js", "page.css"))
    declared = set(DECLARED.findall(script))
    for path in FILES:
        if path.suffix == ".js":
            assert set(EXPORTED.findall(path.read_text(encoding="utf-8"))) <= declared, path
        if path.suffix == ".css":
            assert join_styles([path.read_text(encoding="utf-8")]) in style


def test_another_file_makes_another_version(tmp_path):
    for name in (INDEX, "main.js"):
        (tmp_path / name).write_text("first();\n")
    first = PageFiles(tmp_path)
    (tmp_path / "main.js").write_text("second();\n")
    second = PageFiles(tmp_path)
    assert first.version != second.version
    assert second.find(f"{first.version}/main.js") is None


def test_little_comes_over_the_line_before_the_form_is_ready():
    # A third of a second at 1.6 Mbit/s; docs/web_page.md has the times.
    files = PageFiles(views.FOLDER)
    assert sum(len(files.find(name).compressed) for name in (INDEX, "page.js", "page.css")) < 70_500


def test_the_whole_page_is_small():
    files = PageFiles(views.FOLDER)
    assert sum(len(files.find(name_of(path)).compressed) for path in FILES) < 150_000
