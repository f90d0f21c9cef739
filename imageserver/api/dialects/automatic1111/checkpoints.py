"""Find models by the titles that AUTOMATIC1111's clients use."""

import re

from imageserver.api.generation.model_lookup import Listed, listing
from imageserver.api.inputs.validation import is_blank, shown
from imageserver.api.services import Services
from imageserver.errors import ModelNotFound

# A title may carry a hash: `name.safetensors [0123abcdef]`.
ENDING = re.compile(r"(\.safetensors|\.ckpt)?(\s\[[0-9a-f]*\])?$")
# The pattern is tried at every letter: 32 MiB took 2 s.
MAX_TITLE_CHARACTERS = 1000


def find_checkpoint(service: Services, title: object) -> str | None:
    """Return the name of the model with this title, None for no title; raises ModelNotFound."""
    if title is None or is_blank(title):
        return None
    exact = str(title)[:MAX_TITLE_CHARACTERS]
    plain = ENDING.sub("", exact)
    if service.default_info is None:
        return plain
    models = listing(service)
    # A name may end like a title, and two models may have one short name: what is written exactly goes first.
    for wanted in (exact, plain):
        asked = service.client.names.shown(wanted).casefold()
        for names in zip(*map(_names_of, models), strict=True):
            found = [model.name for model, name in zip(models, names, strict=True) if name.casefold() == asked]
            if found:
                return found[0]
    served = ", ".join(listed.name for listed in models)
    raise ModelNotFound(
        f"sd_model_checkpoint {shown(title)} is not available; this server serves {served}.",
        param="sd_model_checkpoint",
    )


def short_name(name: str) -> str:
    """Return a model's name without its owner."""
    return name.rsplit("/", 1)[-1]


def _names_of(model: Listed) -> tuple[str, str, str, str]:
    """Return what a client may call a model, the name that no other model has first."""
    shown_hash = model.info.weights_hash if model.info else None
    return model.name, model.source, short_name(model.name), shown_hash or model.name
