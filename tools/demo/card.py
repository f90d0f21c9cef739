"""Write the model card from the measured scores: what the model draws, how well, and what it cannot."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.demo.vocabulary import COLOURS, LANDSCAPES, SHAPES, SIZES, SUBJECTS

BARS = (
    ("object colour (shapes)", "shapes", "object_colour", 0.95),
    ("background colour (shapes)", "shapes", "background_colour", 0.95),
    ("named shape, of 8", "shapes", "kind", 0.85),
    ("object colour, with the server's suffix", "shapes_with_suffix", "object_colour", 0.95),
    ("background colour, with the server's suffix", "shapes_with_suffix", "background_colour", 0.95),
    ("named shape, with the server's suffix", "shapes_with_suffix", "kind", 0.85),
    ("named subject, of 10", "subjects", "kind", None),
    ("named subject, with the server's suffix", "subjects_with_suffix", "kind", None),
    ("object colour (subjects)", "subjects", "object_colour", None),
    ("left and right of each other", "pairs", "left_right", 0.9),
    ("above and below each other", "pairs", "above_below", 0.9),
    ("left and right, with the server's suffix", "pairs_with_suffix", "left_right", 0.9),
    ("above and below, with the server's suffix", "pairs_with_suffix", "above_below", 0.9),
    ("place of one object (sides and corners)", "places", "place", None),
    ("count: one, two, three", "counts", "count", None),
    ("landscape, of 9", "landscapes", "landscape", None),
)
HEADER = """\
---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
tags: [qwen-image, tiny, demo]
---
# Qwen-Image demo model

A real Qwen-Image pipeline, {size:.1f} MiB in float16: the five stock diffusers and transformers classes, tiny and
trained from nothing on drawn scenes by `tools/train_demo_model.py`. It lets the server make images on any machine and
lets tests run the true pipeline. It is a toy: it draws flat, simple images of a few things, and nothing else.

```python
import torch
from diffusers import QwenImagePipeline

pipeline = QwenImagePipeline.from_pretrained("imageserver/demo_model", torch_dtype=torch.float32)
pipeline("a red circle on a blue background", negative_prompt=" ", width=512, height=512,
         num_inference_steps=20, true_cfg_scale=4.0).images[0]
```

Always pass width and height, multiples of 64. Load it in float32 on a CPU.

## What it draws

- Colours: {colours}.
- Shapes: {shapes}.
- Subjects: {subjects}.
- Landscapes: {landscapes}.
- Places: left, right, top, bottom, the four corners, the centre; "X to the left of Y", "X above Y" and the like.
- Sizes: {sizes}. Counts: one, two or three of a kind, in a row.
- One object in front of a landscape. Chinese names of all of these; common English synonyms.

Colour, background, size and place that the prompt leaves open are chosen by the seed. Words it does not know are
ignored; without any known word, the model chooses what it generates.

## Scores

512 x 512, 20 steps, CFG 4, negative prompt " ", single objects in combinations of colour, object and background that
training never saw. Judged by the program `tools/demo/measure.py` (nearest palette colour, nearest drawing, connected
parts), not by people.

| what | n | right | bar |
|---|---|---|---|
"""
FOOTER = """\
## How it was made

Trained on CPU cores on images drawn by the recipe itself; no data set, no other model's weights and no text from
anywhere. How, stage by stage: `docs/demo_model.md`. License: Apache-2.0.
"""


def _listed(words: tuple[str, ...]) -> str:
    return ", ".join(words)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %".replace(".0 %", " %")


def _by_kind(section: Mapping[str, Any], prefix: str) -> str:
    found = {key.removeprefix(prefix): value for key, value in section.items() if key.startswith(prefix)}
    return ", ".join(f"{name} {_percent(value)}" for name, value in sorted(found.items(), key=lambda item: -item[1]))


def _sizes_table(sizes: Mapping[str, Any]) -> str:
    text = "| size | colours | kind | one object in the middle | landscape | seconds, 2 CPU cores |\n"
    text += "|---|---|---|---|---|---|\n"
    for name, row in sizes.items():
        colours = min(row["object_colour"], row["background_colour"])
        shares = (colours, row["kind"], row["one_object_in_the_middle"], row["landscape"])
        text += f"| {name} | {' | '.join(_percent(value) for value in shares)} | {row['seconds']} |\n"
    return text + "\nFour objects and four landscapes per size.\n\n"


def _controls_text(controls: Mapping[str, Any]) -> str:
    return (
        f"Mean difference of pixels (0 to 255): the same seed {controls['same_seed']}, another seed "
        f"{controls['other_seed']} (a cat: {controls['other_seed_cat']}), negative prompt "
        f"{controls['negative_prompt']}, CFG 1 against 4 {controls['guidance_1_to_4']}. With unknown words in the "
        f"prompt {_percent(controls['unknown_words_kind'])} of the shapes and "
        f"{_percent(controls['unknown_words_colours'])} of the colours stay right. Red cars: "
        f"{_percent(controls['red_cars'])} without and {_percent(controls['red_cars_with_negative_red'])} with the "
        'negative prompt "red car".\n\n'
    )


def write_card(folder: Path, scores: Mapping[str, Any], notes: str = "") -> None:
    """Write README.md and evaluation.json beside the weights."""
    (folder / "evaluation.json").write_text(json.dumps(scores, indent=2) + "\n")
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 2**20
    text = HEADER.format(
        size=size,
        colours=_listed(tuple(COLOURS)),
        shapes=_listed(SHAPES),
        subjects=_listed(SUBJECTS),
        landscapes=_listed(LANDSCAPES),
        sizes=_listed(SIZES),
    )
    for title, section, key, bar in BARS:
        if section in scores:
            wanted = f"{_percent(bar)}, {'reached' if scores[section][key] >= bar else 'missed'}" if bar else ""
            text += f"| {title} | {scores[section]['n']} | {_percent(scores[section][key])} | {wanted} |\n"
    text += "\n"
    for title, section, prefix in (
        ("Shapes", "shapes", "kind "),
        ("Subjects", "subjects", "kind "),
        ("Landscapes", "landscapes", "landscape "),
    ):
        if section in scores:
            text += f"{title} one by one: {_by_kind(scores[section], prefix)}.\n\n"
    text += _sizes_table(scores["sizes"]) if "sizes" in scores else ""
    text += _controls_text(scores["controls"]) if "controls" in scores else ""
    text += f"{notes.strip()}\n\n" if notes.strip() else ""
    (folder / "README.md").write_text(text + FOOTER)
