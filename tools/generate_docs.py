"""Write what the code says into the docs: every text between `<!-- generated: … -->` marks, and `.env.example`.

The alerts of Prometheus are copied into the Helm chart.

    .venv/bin/python tools/generate_docs.py            write them
    .venv/bin/python tools/generate_docs.py --check    write nothing; exit with 1 and the names of the files that differ

A table comes from the descriptions and docstrings of what it lists, so a sentence is corrected where it is defined.
"""

import argparse
import inspect
import json
import re
import sys
import textwrap
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from flask import Flask  # noqa: E402
from pydantic.fields import FieldInfo  # noqa: E402

from imageserver.api import routes  # noqa: E402
from imageserver.api.inputs import generate_request  # noqa: E402
from imageserver.cli.flags.parser import COMMANDS, build_parser, commands_below, flags_of, sentence_of  # noqa: E402
from imageserver.errors import BY_CODE  # noqa: E402
from imageserver.settings import Settings, variables_of  # noqa: E402

COMMAND = ".venv/bin/python tools/generate_docs.py"
ENV_EXAMPLE = ROOT / ".env.example"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
# A chart reads no file outside its own folder.
CHART_ALERTS = ROOT / "deploy" / "helm" / "qwen-image-server" / "files" / "alerts.yml"
CHART_HEADER = "# A copy of deploy/prometheus/alerts.yml, which tools/generate_docs.py makes.\n"
MARKED = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
AUTOMATIC1111 = "automatic1111."
FIELDS = {*Settings.model_fields, *generate_request.GenerateBody.model_fields}
ENV_HEADER = """\
# Settings of qwen-image-server. Copy this file to .env and remove the # in front of what you change.
# A variable of the environment wins over .env; an empty value means the default.
"""
# The start scripts read it while they install; the server does not.
ENV_FOOTER = """
# Package index to take PyTorch from when the packages are installed; empty chooses the build for this machine.
#TORCH_INDEX_URL=
"""


def env_example() -> str:
    """Return the content of `.env.example`."""
    text = ENV_HEADER
    for field, information in Settings.model_fields.items():
        name, *others = variables_of(field)
        also = f" Also read as {' or '.join(others)}." if others else ""
        text += f"\n# {information.description}{also}\n#{name}={_as_variable(information.default)}\n"
    return text + ENV_FOOTER


def settings_table() -> str:
    """Return every setting with its default and its sentence, a table for each subject."""
    tables = []
    for subject in reversed(Settings.__bases__):
        rows = []
        for field, information in _fields_of(subject):
            name, *others = variables_of(field)
            also = f" Also read as {' or '.join(f'`{other}`' for other in others)}." if others else ""
            default = _as_variable(information.default)
            rows.append([f"`{name}`", f"`{default}`" if default else "", f"{information.description}{also}"])
        if rows:
            tables.append(f"\n{inspect.getdoc(subject)}\n" + _table(["Setting", "Default", "Meaning"], rows))
    return "".join(tables)


def _fields_of(subject: type) -> list[tuple[str, FieldInfo]]:
    own = vars(subject).get("__annotations__", {})
    return [(field, information) for field, information in Settings.model_fields.items() if field in own]


def parameters_table() -> str:
    """Return every parameter of /generate; a default that the loaded model decides is the one of Qwen-Image."""
    qwen_image, _ = generate_request.resolve(generate_request.GenerateBody(prompt="x"), Settings(_env_file=None), None)
    decided = {"num_inference_steps": qwen_image.steps, "true_cfg_scale": qwen_image.true_cfg_scale}
    rows = []
    for name, information in generate_request.GenerateBody.model_fields.items():
        if information.is_required():
            default = "**required**"
        elif name in decided:
            default = f"`{decided[name]}`"
        else:
            default = "" if information.default is None else f"`{json.dumps(information.default)}`"
        rows.append([f"`{name}`", _type_name(information.annotation), default, information.description or ""])
    return _table(["Parameter", "Type", "Default", "Description"], rows)


def errors_table() -> str:
    """Return every error's status, code and meaning."""
    errors = sorted(BY_CODE.values(), key=lambda error: (error.status, error.code))
    return _table(
        ["Status", "Code", "Meaning"],
        [[str(error.status), f"`{error.code}`", _first_line(error)] for error in errors],
    )


def routes_of(*, automatic1111: bool) -> list[list[str]]:
    """Return method, path and sentence of every route, those of AUTOMATIC1111's API or all others."""
    app = Flask("routes", static_folder=None)
    routes.register(app, Settings(_env_file=None))
    rows = []
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith(AUTOMATIC1111) == automatic1111:
            path = re.sub(r"<\w+:", "<", rule.rule)
            sentence = _first_line(app.view_functions[rule.endpoint])
            rows += [[method, f"`{path}`", sentence] for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}]
    return sorted(rows, key=lambda row: (row[1], row[0]))


def commands_table() -> str:
    """Return every command of the command line with what it does."""
    rows = []
    for name, below in commands_below(build_parser()).items():
        lists = [(f"{name} {word}", each.description) for word, each in commands_below(below).items()]
        rows += [[f"`{command}`", told or ""] for command, told in lists or [(name, sentence_of(COMMANDS[name]))]]
    return _table(["Command", "What it does"], rows)


def flags_table() -> str:
    """Return the flags of every command but those that come from the settings and from the body of /generate."""
    commands: dict[tuple[str, str], list[str]] = {}
    for name, below in commands_below(build_parser()).items():
        for word, each in (commands_below(below) or {"": below}).items():
            for action in flags_of(each):
                if action.option_strings and action.dest not in FIELDS | {"help", "help_all"}:
                    flags = ", ".join(f"`{flag}`" for flag in action.option_strings)
                    told = sentence_of((action.help or "") % vars(action))
                    commands.setdefault((flags, told), []).append(f"`{f'{name} {word}'.strip()}`")
    return _table(["Flag", "Meaning", "Commands"], [[*told, ", ".join(where)] for told, where in commands.items()])


def import_law() -> str:
    """Return the layers of every import contract, the highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    laws = []
    for contract in contracts:
        if contract["type"] == "layers":
            # In brackets are optional layers: folders of data, which import nothing.
            layers = " > ".join(layer for layer in contract["layers"] if "(" not in layer)
            law = textwrap.fill(f"{contract['containers'][0]}: {layers}", 110, subsequent_indent="    ")
            laws.append(f"```text\n{law}\n```\n")
    return "\n" + "\n".join(laws) + "\n"


TABLES: Mapping[str, Callable[[], str]] = {
    "settings": settings_table,
    "parameters": parameters_table,
    "errors": errors_table,
    "commands": commands_table,
    "flags": flags_table,
    "import-law": import_law,
    "routes": lambda: _table(["Method", "Path", "What it does"], routes_of(automatic1111=False)),
    "sdapi": lambda: _table(["Method", "Path", "What it does"], routes_of(automatic1111=True)),
}


def with_tables(page: str) -> str:
    """Return the text of a page with its generated tables as they should be."""
    return MARKED.sub(lambda match: match[1] + TABLES[match[2]]() + match[3], page)


def generated_files() -> dict[Path, str]:
    """Return every file that is generated, wholly or in part, with the text it should have."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    texts = {page: page.read_text(encoding="utf-8") for page in pages}
    copied = {CHART_ALERTS: CHART_HEADER + ALERTS.read_text(encoding="utf-8")}
    return (
        {ENV_EXAMPLE: env_example()}
        | copied
        | {page: with_tables(text) for page, text in texts.items() if MARKED.search(text)}
    )


def outdated() -> dict[Path, str]:
    """Return the generated files whose text on the disk is not the one they should have."""
    return {file: text for file, text in generated_files().items() if file.read_text(encoding="utf-8") != text}


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def _first_line(documented: Any) -> str:
    return (documented.__doc__ or "").splitlines()[0]


def _as_variable(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _type_name(annotation: Any) -> str:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _type_name(typing.get_args(annotation)[0])
    if origin is typing.Literal:
        return "string"
    if isinstance(annotation, types.UnionType) or origin is typing.Union:
        return _type_name(next(part for part in typing.get_args(annotation) if part is not type(None)))
    if origin is list:
        return "list"
    return {str: "string", int: "int", float: "float", bool: "bool"}[annotation]


def main() -> int:
    """Write the files that are out of date, or with `--check` only name them."""
    parser = argparse.ArgumentParser(description="Write the generated tables of the docs and .env.example.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is out of date")
    check = parser.parse_args().check
    files = outdated()
    for file, text in files.items():
        if not check:
            file.write_text(text, encoding="utf-8")
        print(f"{file.relative_to(ROOT)}: {f'out of date; run: {COMMAND}' if check else 'written'}")
    return 1 if check and files else 0


if __name__ == "__main__":
    sys.exit(main())
