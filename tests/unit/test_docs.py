"""The docs are true as far as their text and the code alone can say; `test_documented_api.py` runs the examples."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import aspect_ratios
from benchmarks import report
from benchmarks.results import FILE, FOLDER, read_results
from imageserver.api.inputs import generate_request
from imageserver.generation import POSITIVE_MAGIC
from imageserver.settings import Settings, variables_of
from tests.support.docs import PAGES, blocks, rows_of, without_blocks
from tests.support.paths import ROOT
from tools import generate_docs

README = ROOT / "README.md"
API = ROOT / "docs" / "api.md"
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
MAX_README_LINES = 200
# Variables in the pages that the server itself does not read.
OTHER_VARIABLES = {
    "PYTHON",
    "TORCH_INDEX_URL",
    "TMPDIR",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "QIS_FULL",
    "GPU_TESTS_DEVICE",
    "HF_ENABLE_PARALLEL_LOADING",
    "OMP_WAIT_POLICY",
    "OMP_NUM_THREADS",
    # Of deploy/compose.yaml.
    "METRICS_KEY",
    "GRAFANA_PASSWORD",
    "COMPOSE_FILE",
    "CLUSTER_HEAD",
    "EXTRAS",
}


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def test_every_generated_file_is_what_the_code_says():
    outdated = [page_name(file) for file in generate_docs.outdated()]
    assert outdated == [], f"{', '.join(outdated)} differ from the code; to repair: {generate_docs.COMMAND}"


def test_every_generated_table_stands_in_exactly_one_page():
    named = [match[2] for page in PAGES for match in generate_docs.MARKED.finditer(page.read_text(encoding="utf-8"))]
    assert sorted(named) == sorted(generate_docs.TABLES)


def test_the_check_names_what_is_out_of_date_and_fails(monkeypatch, capsys):
    monkeypatch.setattr(generate_docs, "env_example", lambda: "something else")
    monkeypatch.setattr(sys, "argv", ["generate_docs.py", "--check"])
    assert generate_docs.main() == 1
    assert f".env.example: out of date; run: {generate_docs.COMMAND}" in capsys.readouterr().out


def test_the_measured_tables_are_those_of_the_last_runs():
    page = report.PAGE.read_text(encoding="utf-8")
    filled = report.fill(page, report.block_of(read_results(FOLDER / FILE), "../benchmarks/results"))
    assert page == filled, "docs/performance.md differs from the last run; to repair: python -m benchmarks.report"


def test_uncommenting_every_line_of_the_env_example_changes_no_setting(tmp_path, monkeypatch):
    for field in Settings.model_fields:
        for name in variables_of(field):
            monkeypatch.delenv(name, raising=False)
    lines = generate_docs.ENV_EXAMPLE.read_text(encoding="utf-8").splitlines()
    uncommented = tmp_path / "env"
    uncommented.write_text("\n".join(line[1:] for line in lines if line.startswith("#") and not line.startswith("# ")))
    assert Settings(_env_file=uncommented) == Settings(_env_file=None)


def test_the_readme_is_at_most_200_lines():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize("file", ["README.md", "tools/start_help.txt"])
def test_a_host_from_another_document_is_met_with_both_ways_to_open_the_server(file):
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    assert any({"0.0.0.0", "API_KEYS", "ALLOW_OPEN=1"} <= set(re.findall(r"[\w.]+(?:=1)?", line)) for line in lines)


def test_the_settings_of_the_readme_have_their_true_defaults():
    rows = rows_of(README, "Setting")
    assert len(rows) == 8
    every = {row[0]: row[1] for row in rows_of(ROOT / "docs" / "settings.md", "Setting")}
    assert {row[0]: row[1] for row in rows} == {row[0]: every[row[0]] for row in rows}


def test_the_readme_counts_the_families_of_the_table():
    others = len(rows_of(ROOT / "docs" / "models.md", "Family")) - 1
    word = {11: "eleven", 12: "twelve", 13: "thirteen", 14: "fourteen"}[others]
    assert f"and [{word} other model families](docs/models.md)" in README.read_text(encoding="utf-8")


def test_the_models_of_the_readme_have_names_or_are_ids():
    named = set(Settings(_env_file=None).registry()) | {"demo"}
    models = [model for row in rows_of(README, "Card") for model in re.findall(r"MODEL=(\S+?)[ `]", row[1])]
    assert len(models) >= 6
    assert [model for model in models if "/" not in model and model not in named] == []


def test_the_aspect_ratio_table_has_every_name_and_size():
    sizes = {name: f"{width}×{height}" for name, (width, height) in aspect_ratios.ASPECT_RATIOS.items()}
    assert {row[0].strip("`"): row[1] for row in rows_of(API, "Name")} == sizes


def test_the_limits_named_in_the_text_are_the_limits():
    text = API.read_text(encoding="utf-8")
    assert f"{generate_request.MIN_SIDE} to {generate_request.MAX_SIDE} pixels" in text
    assert all(f"`{suffix}`" in text for suffix in POSITIVE_MAGIC.values())


def test_every_quoted_message_is_one_of_ours():
    known = messages_of_the_code()
    quoted = re.findall(r"^> (.*)$", TROUBLESHOOTING.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(quoted) >= 10
    assert [message for message in quoted if message not in known] == []


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


def test_every_package_stands_in_the_table_of_packages():
    listed = " ".join(row[0] for row in rows_of(ROOT / "docs" / "architecture.md", "Package"))
    dialects = ROOT / "imageserver" / "api" / "dialects"
    packages = [file.parent for file in (ROOT / "imageserver").glob("*/**/__init__.py")]
    names = [f"`{page_name(package)}/`" for package in packages if package.parent != dialects]
    names += [f"{file.name}`" for file in (ROOT / "imageserver").glob("*.py") if file.name != "__init__.py"]
    assert [name for name in names if name not in listed] == []


def test_every_owner_in_the_architecture_is_a_class_of_its_file():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    owners = re.findall(r"`([A-Z]\w+)`[\w ]* \(`([\w/]+\.py)`\)", text)
    assert len(owners) >= 14
    files = {name: (ROOT / "imageserver" / name).read_text(encoding="utf-8") for _, name in owners}
    assert [owner for owner, name in owners if not re.search(rf"^class {owner}\b", files[name], re.MULTILINE)] == []


def test_every_name_in_the_glossary_is_one_of_the_code():
    named = set(re.findall(r"`([A-Z][a-z]\w+)[`.]", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")))
    code = [
        file.read_text(encoding="utf-8") for room in ("imageserver", "tests") for file in (ROOT / room).rglob("*.py")
    ]
    defined = {name for text in code for name in re.findall(r"^(?:class )?([A-Z]\w+)(?=[(:]| =)", text, re.MULTILINE)}
    assert named - defined == set()


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_variable_is_a_setting(page):
    known = OTHER_VARIABLES | {name for field in Settings.model_fields for name in variables_of(field)}
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"\b([A-Z][A-Z_]{2,})=", text)) - known == set()


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_link_to_a_page_of_ours_leads_somewhere(page):
    """Those to other sites are not followed: only loopback is reachable."""
    missing = []
    for target, _, section in re.findall(r"\]\(([^)#\s]*)(#([\w-]+))?\)", without_blocks(page)):
        file = page.parent / target if target else page
        if "://" not in target and not (file.exists() and (not section or section in sections_of(file))):
            missing.append(f"{target}#{section}")
    assert missing == []


def sections_of(page: Path) -> set[str]:
    """Return what the headings of a page are linked by."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_reached_from_the_index():
    reached, waiting = set(), [ROOT / "docs" / "index.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md" or not page.is_file():
            continue
        reached.add(page)
        targets = re.findall(r"\]\(([^)#\s:]+)", without_blocks(page))
        waiting += [(page.parent / target).resolve() for target in targets]
    assert {page_name(page) for page in PAGES if page not in reached} <= {"CHANGELOG.md"}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_file_that_is_named_exists(page):
    named = re.findall(
        r"`((?:imageserver|tests|tools|examples|docs)/[\w./-]+|\w+\.(?:py|sh|bat))`", page.read_text("utf-8")
    )
    rooms = ("imageserver", "tools", "benchmarks", "tests")
    inside = {file.name for room in rooms for file in (ROOT / room).rglob("*.py")}
    assert [name for name in named if not (ROOT / name).exists() and name not in inside] == []


@pytest.mark.parametrize(
    "path", ["README.md", "CONTRIBUTING.md", *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
)
def test_every_module_that_is_named_with_its_package_exists(path):
    """Catch `engine/turns.py` and the like, whose package moved although a file of that name is left elsewhere."""
    rooms = "api|dispatch|engine|imaging|outputs|telemetry|protocol|cli"
    named = re.findall(rf"`((?:{rooms})/[\w./]+\.py)`", (ROOT / path).read_text("utf-8"))
    assert [name for name in named if not (ROOT / "imageserver" / name).exists()] == []


@pytest.mark.parametrize(
    "script", ["test_client.py", "test_connectivity.py", "test_concurrent.py", "qwen_image_server.py"]
)
def test_every_option_of_a_script_exists(script):
    lines = [line for page in PAGES for _, text in blocks(page) for line in text.splitlines() if script in line]
    assert lines, f"no page shows {script}"
    commands = ["generate", "doctor", "keys new"] if script == "qwen_image_server.py" else [""]
    answer = ""
    for command in commands:
        line = [sys.executable, script, *command.split(), "--help"]
        answer += subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    options = {option for line in lines for option in re.findall(r"\s(--[\w-]+)", line)}
    assert {option for option in options if option not in answer} == set()
