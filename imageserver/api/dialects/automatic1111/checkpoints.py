"""Find models by the titles that AUTOMATIC1111's clients use."""

import re

from imageserver.api.generation.model_lookup import listing
from imageserver.api.inputs.validation import shown
from imageserver.api.services import Services
from imageserver.errors import ModelNotFound

# A title may carry a hash: `name.safetensors [0123abcdef]`.
ENDING = re.compile(r"(\.safetensors|\.ckpt)?(\s\[[0-9a-f]*\])?$")
# The pattern is tried at every letter: 32 MiB took 2 s.
MAX_TITLE_CHARACTERS = 1000


def find_checkpoint(service: Services, title: object) -> str | None:
    """Return the name of the model with this title, None for no title; raises ModelNotFound."""
    if title in (None, ""):
        return None
    plain = ENDING.sub("", str(title)[:MAX_TITLE_CHARACTERS])
    if service.default_info is None:
        return plain
    models, plain = listing(service), service.client.names.shown(plain)
    for listed in models:
        names = (listed.name, listed.source, short_name(listed.name))
        if plain.casefold() in {name.casefold() for name in names}:
            return listed.name
    served = ", ".join(listed.name for listed in models)
    raise ModelNotFound(
        f"sd_model_checkpoint {shown(title)} is not available; this server serves {served}.",
        param="sd_model_checkpoint",
    )


def short_name(name: str) -> str:
    """Return a model's name without its owner."""
    return name.rsplit("/", 1)[-1]
