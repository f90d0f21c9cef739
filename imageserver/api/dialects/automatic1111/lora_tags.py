"""LoRAs as AUTOMATIC1111's prompts name them: `<lora:name:0.8>`.

Source: stable-diffusion-webui 1.10, `modules/extra_networks.py` and `extensions-builtin/Lora/extra_networks_lora.py`.
"""

import re
from collections.abc import Sequence
from typing import Any

from imageserver.api.inputs.loras import MAX_STACKED_LORAS, STRONGEST

TAG = re.compile(r" ?<(lora|lyco|hypernet):([^<>:]{1,200})(?::([^<>]{0,200}))?>")
# Names that one warning quotes.
MAX_QUOTED = 20


def without_tags(text: str) -> str:
    """Return a prompt as the model is to read it."""
    return TAG.sub("", text)


def loras_in(prompt: str, negative_prompt: str, known: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the LoRAs that a prompt names, in native terms, and warnings about tags that name none.

    A tag may give a strength for the text encoder and one for the model; the last one is taken for both.
    """
    names = {name.casefold(): name for name in known}
    chosen: dict[str, float] = {}
    unused = [name for _, name, _ in TAG.findall(negative_prompt)]
    for kind, name, told in TAG.findall(prompt):
        scale, found = _scale(told), names.get(name.strip().casefold())
        if kind == "hypernet" or found is None or scale is None or len(chosen) == MAX_STACKED_LORAS:
            unused.append(name)
        else:
            chosen[found] = scale
    quoted = ", ".join(ascii(name)[:80] for name in unused[:MAX_QUOTED])
    warnings = [f"no LoRA is generated with for what was taken out of the prompts: {quoted}."] if unused else []
    return [{"name": name, "scale": scale} for name, scale in chosen.items()], warnings


def _scale(told: str) -> float | None:
    """Return the strength in a tag, 1 where there is none, None for what is no strength."""
    parts = [part.partition("=")[2] or part for part in told.split(":") if not part.startswith("dyn=")]
    if not any(parts):
        return 1.0
    try:
        scale = float(parts[min(len(parts), 2) - 1])
    except ValueError:
        return None
    return scale if abs(scale) <= STRONGEST else None
