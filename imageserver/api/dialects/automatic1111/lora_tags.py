"""LoRA tags in prompts, such as `<lora:name:0.8>`.

Source: stable-diffusion-webui 1.10, `modules/extra_networks.py` and `extensions-builtin/Lora/extra_networks_lora.py`.
"""

import re
from collections.abc import Sequence
from typing import Any

from imageserver.api.inputs.loras import MAX_SCALE, MAX_STACKED_LORAS

TAG = re.compile(r" ?<(lora|lyco|hypernet):([^<>:]{1,200})(?::([^<>]{0,200}))?>")
# Names quoted in one warning.
MAX_QUOTED = 20


def without_tags(text: str) -> str:
    return TAG.sub("", text)


def loras_in(prompt: str, negative_prompt: str, known: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the `loras` field for the tags in a prompt, and warnings about unusable tags.

    A tag may have one strength for the text encoder and one for the model; the last one counts for both.
    """
    # AUTOMATIC1111 leaves out the folder.
    names = {name.rpartition("/")[2].casefold(): name for name in known} | {name.casefold(): name for name in known}
    chosen: dict[str, float] = {}
    unused = [name for _, name, _ in TAG.findall(negative_prompt)]
    for kind, name, strength in TAG.findall(prompt):
        scale, found = _scale(strength), names.get(name.strip().casefold())
        if kind == "hypernet" or found is None or scale is None or len(chosen) == MAX_STACKED_LORAS:
            unused.append(name)
        else:
            chosen[found] = scale
    quoted = ", ".join(ascii(name)[:80] for name in unused[:MAX_QUOTED])
    warnings = [f"these tags were removed from the prompts without adding a LoRA: {quoted}."] if unused else []
    return [{"name": name, "scale": scale} for name, scale in chosen.items()], warnings


def _scale(text: str) -> float | None:
    """Return the strength in a tag, 1 if it has none, None if it is invalid."""
    parts = [part.partition("=")[2] or part for part in text.split(":") if not part.startswith("dyn=")]
    if not any(parts):
        return 1.0
    try:
        scale = float(parts[min(len(parts), 2) - 1])
    except ValueError:
        return None
    return scale if abs(scale) <= MAX_SCALE else None
