"""LoRAs by their id on a hub: what is not on the disk is fetched first, where MODEL_LOADING lets clients do that."""

import re
from collections.abc import Iterable

from imageserver.api.services import Services
from imageserver.protocol.messages import LoraRequest

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[^:\\]+)?", re.ASCII)


def fetch_missing(service: Services, names: Iterable[str]) -> None:
    """Have the engine fetch the LoRAs that are not on the disk; raises ServiceError.

    Names that are no ids on a hub, and all where clients may not load anything, are left to whoever looks them up.
    """
    if service.settings.model_loading != "any":
        return
    for name in names:
        if HUB_ID.fullmatch(name) and service.loras.named(name) is None:
            service.client.loras(LoraRequest(job=service.request_ids.next_id(), fetch=name))
