"""The project speaks one language, that of docs/glossary.md: what it replaced does not come back."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.support.project_files import name_of, our_files, parsed, python_files

# Words, also inside of identifiers.
BANNED_WORDS = re.compile(
    "pictures?|draws?|drew|drawn|drawings?|anew|briefing|curtain|desk|develops|fulfil[a-z]*|glimpses?|"
    "heeds?|inquir(y|ies)|ledger|lingers?|painters?|rendezvous|scenes?|shall|shops?|studio|verdicts?|wish(es|ed)?|"
    "workshops?"
)
# Words of the names in code; in sentences they are ordinary English.
BANNED_IN_NAMES = re.compile("delivery|develop|ear|facts|orders|settle|turns|usual")
BANNED_NAMES = re.compile(
    "Answering|Ask|AskCurrent|Draws|Entry|Finish|Forecast|Inspect|Inspected|Look|Order|Outlook|Stage|in_native_terms|"
    "known_facts|play"
)
BANNED_MODULES = re.compile(
    "announcements|answers|attempts|expectations|forecast|inspections|layering|lora_stacks|magnitudes|native_pictures|"
    "native_pool|placing|preparing|readings|retries|short_memory|single_shot|standalone|still_processor|supervision|"
    "turn_order"
)
BANNED_CONSTANTS = re.compile(
    r"_?((MOST|LONGEST|LARGEST|LEAST|FEWEST|SHORTEST|SLOWEST|SMALLEST|HIGHEST|LOWEST)_\w+|LOOK|LINGER|PATIENCE|PIECE)"
)
BANNED_VERBS = re.compile(r"_*(take|tell|note|heed|settle)(_\w+)?")
BANNED_PHRASES = re.compile(
    r"(?<!each )(?<!all )(?<!some )(?<!one )\bof which\b"
    r"|(?<!there )(?<!it )\bis no (?!longer\b|more\b)[a-z]|\ba image\b",
    re.IGNORECASE,
)

# Names of Pillow, canvases, hypothesis, sockets, Playwright and prompts, and a file in a measurement kept as it was.
ALLOWED = re.compile(
    r"ImageDraw(\.Draw)?|\bdrawImage\b|draw_overlay|\bdata\.draw\b|SO_LINGER|Picture \d|draws_from|studio lighting|"
    r"engine/painter\.py|\broute\.fulfill\b"
)
# Lines and shapes are drawn by the overlay, and in the scenes that the demo model learns from.
DRAWING = re.compile("draws?|drew|drawn|drawings?|painters?|scenes?")
MAY_DRAW = (
    "overlay.py", "tests/unit/test_overlay.py", "tools/demo/", "tools/train_demo", "tests/unit/tools/",
    "docs/demo_model.md", "imageserver/demo_model/",
)  # fmt: skip
HISTORY = {"CHANGELOG.md", "tests/unit/test_words.py"}
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
TEXT = {".py", ".js", ".mjs", ".html", ".css", ".md", ".sh", ".bat", ".toml"}


def files_of(*suffixes: str) -> Iterator[Path]:
    for file in our_files():
        name = name_of(file)
        if file.suffix in suffixes and name not in HISTORY:
            yield file


def lines_of(file: Path) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        yield number, ALLOWED.sub("", line)


def names_in(file: Path) -> Iterator[tuple[int, str]]:
    """Yield every name that a file defines or assigns to, but not the names of tests, which are sentences."""
    yield 1, file.stem
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if not node.name.startswith("test_"):
                yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def matching(pattern: re.Pattern[str], text: str) -> list[str]:
    """Return the words that a pattern matches; `draw_chart` and `DrawChart` are two words each."""
    return [word for word in WORD.findall(text) if pattern.fullmatch(word.lower())]


def test_no_banned_word_is_used():
    found = [
        f"{name_of(file)}:{number}: {word}: {line.strip()[:80]}"
        for file in files_of(*TEXT)
        for number, line in lines_of(file)
        for word in matching(BANNED_WORDS, line)
        if not (DRAWING.fullmatch(word.lower()) and name_of(file).startswith(MAY_DRAW))
    ]
    assert found == []


def test_no_name_in_code_is_a_banned_one():
    found = [
        f"{name_of(file)}:{number}: {name}"
        for file in files_of(".py")
        for number, name in names_in(file)
        if BANNED_NAMES.fullmatch(name) or BANNED_CONSTANTS.fullmatch(name) or matching(BANNED_IN_NAMES, name)
    ]
    assert found == []


def test_no_module_has_the_name_that_another_has_replaced():
    assert [name_of(file) for file in files_of(".py") if BANNED_MODULES.fullmatch(file.stem)] == []


def test_no_function_is_named_by_a_verb_of_many_meanings():
    found = [
        f"{name_of(file)}:{node.lineno}: {node.name}"
        for file in files_of(".py")
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and BANNED_VERBS.fullmatch(node.name)
    ]
    assert found == []


def test_no_sentence_is_twisted():
    found = [
        f"{name_of(file)}:{number}: {line.strip()[:100]}"
        for file in files_of(*TEXT)
        for number, line in lines_of(file)
        if BANNED_PHRASES.search(line)
    ]
    assert found == []


def test_every_class_has_a_name_of_its_own():
    places = defaultdict(list)
    for file in python_files("imageserver", "tests", "benchmarks", "tools", "."):
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{name_of(file)}:{node.lineno}")
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
