"""The page's modules as one script, and its style sheets as one: a browser asks for each of 40 small files otherwise.

Over a line with a round trip of 150 ms that is most of the time until the form is ready. The modules stay as they are,
but for their comments and indentation, a quarter of what comes over the line: each is a function here that returns what
it exports, called in the order in which they import each other.
"""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

IMPORT = re.compile(r'^import (?:(?P<default>\w+)|\{(?P<names>[^}]+)\}) from "(?P<path>\.\.?/[^"]+)";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?P<kind>async function\*?|function\*?|class|const) (?P<name>\w+)", re.MULTILINE)
DEFAULT = re.compile(r"^export default ", re.MULTILINE)
# On lines of their own: those behind code stay, as does whatever looks like one within a string.
COMMENT = re.compile(r"^[ \t]*(?://.*|/\*(?:(?!\*/).)*\*/|/\*\*\n(?:[ \t]*\*(?!/).*\n)*[ \t]*\*/)\n", re.MULTILINE)
# With the empty lines before it.
INDENTATION = re.compile(r"^\s+", re.MULTILINE)
BETWEEN = re.compile(r"(?<=[:;,{}])[ \n]| (?=[{}])")
# The second language of a room's texts, and a key in it.
SECOND = re.compile(r'^zh: \{\n(?P<lines>(?:"[\w.]+": ".*",\n)+)\}', re.MULTILINE)
KEY = re.compile(r'^"[\w.]+": ', re.MULTILINE)
# Where no semicolon is missing without it; what stands behind a comment would be part of that.
LINE_END = re.compile(r"^((?:(?!//).)*?)(?:;?\n(?=\})|(?<=[{,;(\[])\n|\n(?=[\])]))", re.MULTILINE)
# Lines that hold no text and no expression with slashes, and what braces do without there.
BARE = re.compile(r"^[^\"'`/\n]+$", re.MULTILINE)
BESIDE_BRACE = re.compile(r"(?<=\)) (?=\{)|(?<=\{) |;? (?=\})")
LEFT_OVER = re.compile(r"^(?:import|export)\b.*|\bimport\(.*", re.MULTILINE)


class NotJoinable(Exception):
    """A module is written in a way that cannot be joined."""


def join_modules(start: str, sources: dict[str, str]) -> str:
    """Return the script that runs a module with all that it imports; raises NotJoinable."""
    done: list[str] = []
    _collect(start, sources, done, ())
    parts = [f"m[{done.index(name)}]=(() => {{\n{_body(name, sources[name], done)}}})();\n" for name in done]
    return '"use strict";\n{\nconst m=[];\n' + "".join(parts) + "}\n"


def join_styles(contents: Iterable[str]) -> str:
    """Return style sheets as one, without comments and blanks that mean nothing."""
    return BETWEEN.sub("", INDENTATION.sub("", COMMENT.sub("", "".join(contents))))


def _collect(name: str, sources: dict[str, str], done: list[str], importers: tuple[str, ...]) -> None:
    """Add a module behind those that it imports."""
    if name in importers:
        raise NotJoinable(f"{name} imports itself, by way of {', '.join(importers)}.")
    if name not in sources:
        raise NotJoinable(f"{importers[-1] if importers else 'the page'} imports {name}, which is not there.")
    if name in done:
        return
    for found in IMPORT.finditer(sources[name]):
        _collect(_resolved(name, found["path"]), sources, done, (*importers, name))
    done.append(name)


def _body(name: str, source: str, numbered: list[str]) -> str:
    exported = [found["name"] for found in EXPORT.finditer(source)]
    text = INDENTATION.sub("", COMMENT.sub("", source))
    # Blanks at the start of a line mean something within a text.
    for line in text.replace('"`"', '""').split("\n"):
        if line.count("`") % 2:
            raise NotJoinable(f"{name}: {line!r} begins or ends a text of several lines, which cannot be joined.")
    # Its keys are those of the first, in the same order.
    text = SECOND.sub(lambda found: f"zh: [\n{KEY.sub('', found['lines'])}]", text)
    text = IMPORT.sub(lambda found: _as_constant(found, name, numbered), text)
    text = EXPORT.sub(r"\g<kind> \g<name>", text)
    if DEFAULT.search(text):
        text, exported = DEFAULT.sub("const theDefault = ", text), [*exported, "default:theDefault"]
    if left := LEFT_OVER.search(text):
        raise NotJoinable(f"{name}: {left[0]!r} cannot be joined; see docs/contributing/add-a-view.md.")
    text = BARE.sub(lambda found: BESIDE_BRACE.sub("", found[0]), text)
    return LINE_END.sub(r"\1", f"{text}return{{{','.join(exported)}}};\n")


def _as_constant(found: re.Match[str], name: str, numbered: list[str]) -> str:
    # A module's path takes more bytes than its number, in each module that imports it.
    module = f"m[{numbered.index(_resolved(name, found['path']))}]"
    if found["default"]:
        return f"const {found['default']}={module}.default;"
    return f"const{{{found['names'].replace(' as ', ':').replace(' ', '')}}}={module};"


def _resolved(name: str, path: str) -> str:
    parts = list(PurePosixPath(name).parent.parts)
    for part in path.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
