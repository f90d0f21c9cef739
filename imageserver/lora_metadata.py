"""What a LoRA file says of itself: the words that it was trained with, and a preview.

Sources: Stability AI's ModelSpec 1.0 (`modelspec.*`); kohya-ss sd-scripts `train_network.py` (`ss_*`).
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import msgspec

from imageserver.safetensors_header import DamagedHeader, read_header

MAX_WORDS = 5
MAX_WORD_CHARACTERS = 200
MAX_PREVIEW_CHARACTERS = 200_000
# What a browser shows as an image and never runs.
PREVIEW = re.compile(r"data:image/(png|jpeg|webp);base64,[A-Za-z0-9+/]+={0,2}")


class LoraMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """The trigger words, and a preview as a `data:` address."""

    trigger_words: tuple[str, ...] = ()
    preview: str | None = None


def read_metadata(file: Path) -> LoraMetadata:
    """Return what a file says of itself; nothing for one that cannot be read."""
    try:
        metadata = read_header(file).metadata
    except (DamagedHeader, OSError):
        return LoraMetadata()
    preview = metadata.get("modelspec.thumbnail", "")
    is_image = len(preview) <= MAX_PREVIEW_CHARACTERS and PREVIEW.fullmatch(preview)
    return LoraMetadata(trigger_words=_words(metadata), preview=preview if is_image else None)


def _words(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return the author's trigger words, or else the tags that stand in the most captions."""
    phrase = metadata.get("modelspec.trigger_phrase", "")
    words = [word.strip() for word in phrase.split(",")] if phrase else _most_common_tags(metadata)
    return tuple(word for word in words if 0 < len(word) <= MAX_WORD_CHARACTERS)[:MAX_WORDS]


def _most_common_tags(metadata: Mapping[str, str]) -> list[str]:
    try:
        folders = msgspec.json.decode(metadata.get("ss_tag_frequency", "{}"), type=dict[str, dict[str, int]])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return []
    counts: Counter[str] = Counter()
    for tags in folders.values():
        counts.update({tag.strip(): count for tag, count in tags.items()})
    most = max(counts.values(), default=0)
    return [tag for tag, count in counts.items() if count == most]
