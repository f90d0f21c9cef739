"""Joined modules do what they do apart."""

import re
import shutil
import subprocess

import pytest

from imageserver.api.page.joined import NotJoinable, join_modules

NODE = shutil.which("node")
SOURCES = {
    "main.js": 'import texts from "./room/texts.js";\nimport { Cat as Animal, count, names } from "./room/cat.js";\n'
    'count();\nconsole.log(new Animal().say(), names.join("+"), texts.en, count());\n',
    "room/cat.js": 'import { voice } from "../voice.js";\n\nlet calls = 0;\nexport const names = ["a", "b"];\n'
    "export function count() {\n  return (calls += 1);\n}\n\n"
    "export class Cat {\n  say() {\n    return voice;\n  }\n}\n",
    "room/texts.js": 'export default {\n  en: "hello",\n};\n',
    "voice.js": 'const calls = "another name of the same";\nexport const voice = `meow ${calls.length}`;\n',
}


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_a_joined_page_runs_as_its_modules_do():
    script = join_modules("main.js", SOURCES)
    ran = subprocess.run([NODE, "-e", script], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout == "meow 24 a+b hello 2\n"


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_comments_on_lines_of_their_own_stay_behind_and_nothing_else():
    source = (
        "// What it says.\n\n/** One line. */\nconst one = 1; // behind\n/**\n * Several * lines, with import x;\n *\n"
        ' * @param two\n */\n  // indented\n/* a */ console.log(one, "// no", `/* none */`); /* b */\n'
    )
    script = join_modules("main.js", {"main.js": source})
    assert not re.search(r"^[ \t]", script, re.MULTILINE)
    for gone in ("What it says", "One line", "Several", "@param", "indented"):
        assert gone not in script
    ran = subprocess.run([NODE, "-e", script], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout == "1 // no /* none */\n"


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_lines_are_joined_unless_a_comment_or_a_missing_semicolon_ends_with_them():
    source = "let one = 1\nlet two = [\n  one,\n  2, // behind;\n  3,\n]\nconsole.log(\n  two.join(),\n)\n"
    script = join_modules("main.js", {"main.js": source})
    assert "let one = 1\nlet two = [one,2, // behind;\n3,]\nconsole.log(two.join(),)\n" in script
    ran = subprocess.run([NODE, "-e", script], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout == "1,2,3\n"


@pytest.mark.skipif(NODE is None, reason="there is no node")
def test_blanks_beside_braces_stay_behind_but_those_of_texts_and_expressions():
    source = (
        "const one = (two) => { if (two) { return two; } };\nconsole.log(one(1), '( { ; } )', /\\) { ; }/.source);\n"
    )
    script = join_modules("main.js", {"main.js": source})
    assert "const one = (two) => {if (two){return two}};" in script
    ran = subprocess.run([NODE, "-e", script], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout == "1 ( { ; } ) \\) { ; }\n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('import * as all from "./voice.js";\n', "import . as all"),
        ("const one = `\n  two`;\n", "one = `' begins or ends a text of several lines"),
        ("export { one };\n", "export { one };"),
        ("export let one = 1;\n", "export let one = 1;"),
        ('const late = import("./voice.js");\n', "import"),
        ('import { gone } from "./gone.js";\n', "gone.js, which is not there"),
        ('import { self } from "./main.js";\n', "imports itself"),
    ],
)
def test_what_cannot_be_joined_is_named(source, said):
    with pytest.raises(NotJoinable, match=said):
        join_modules("main.js", SOURCES | {"main.js": source})
