"""Whether one call of the configured model can take several cards, before anything is downloaded.

`python -m imageserver.engine.models.on_cards.call_splitting` reads the settings as JSON from standard input and writes
`yes`, `no` or `unknown`: the dispatcher, which must not import diffusers, plans groups of more than two cards by it.
"""

import sys
import typing

import diffusers
import torch

from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.families import FAMILIES, published_class
from imageserver.engine.families.family import Family
from imageserver.engine.models.model_choice import registered
from imageserver.engine.models.model_files import family_in, locate_pipeline
from imageserver.registry import ModelEntry
from imageserver.settings import Settings


def splits_calls(settings: Settings) -> bool | None:
    """Return whether diffusers can split a call, or the model's entry divides the transformer; None: not known yet."""
    if settings.model == "auto":
        return None
    try:
        entry, _ = registered(settings.model, settings)
    except ModelUnavailable:
        return None
    if settings.memory == "auto" and entry.memory == "tensor-parallel":
        return True
    family = _family(settings, entry)
    if family is None:
        return None
    pipeline = getattr(diffusers, published_class(family))
    denoiser = typing.get_type_hints(pipeline.__init__)[family.denoiser]
    return getattr(denoiser, "_cp_plan", None) is not None


def _family(settings: Settings, entry: ModelEntry) -> Family | None:
    """Return the family of the files where they are on the disk, else that of the model's entry."""
    offline = settings.model_copy(update={"offline": True})
    try:
        folder = locate_pipeline(
            settings.model, entry, offline, torch.device("cpu"), lambda phase, sentence, fraction: None
        )
        return family_in(folder, settings.model, entry)
    except ModelUnavailable:
        return next((family for family in FAMILIES if family.name == entry.family), None)


def main() -> None:
    found = splits_calls(Settings.model_validate_json(sys.stdin.buffer.read()))
    sys.stdout.write({True: "yes", False: "no", None: "unknown"}[found])


if __name__ == "__main__":
    main()
