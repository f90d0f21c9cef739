"""What a language model is told before a prompt, in the language of the prompt."""

import re
from functools import cache
from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"
HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
# Japanese has Han characters too. Chinese names have its middle dot (U+30FB), and its long vowel mark (U+30FC) is typed
# for a dash.
KANA = re.compile(r"[\u3040-\u30fa\u30fd-\u30ff]")
WORD = re.compile(r"[^\W\d_\u3400-\u4dbf\u4e00-\u9fff]+")


def instructions_for(prompt: str, *, edits: bool = False) -> str:
    """Return the instructions for a prompt that describes an image, or `edits` one."""
    return _template("edit" if edits else "image", language_of(prompt))


def language_of(text: str) -> str:
    """Return `zh` for a text that has more Chinese characters than other words, else `en`."""
    chinese = 0 if KANA.search(text) else len(HAN.findall(text))
    return "zh" if chinese > len(WORD.findall(text)) else "en"


@cache
def _template(kind: str, language: str) -> str:
    text = (TEMPLATES / f"{kind}_{language}.txt").read_text(encoding="utf-8")
    return " ".join(text.split()) if language == "en" else "".join(text.split())
