"""LoRAs by their id on a hub: what is not on the disk is fetched first, where MODEL_LOADING lets clients do that."""

import re
from collections.abc import Iterable

from imageserver.api.services import Services
from imageserver.errors import InvalidParameter
from imageserver.protocol.messages import LoraRequest

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[^:\\]+)?", re.ASCII)


def fetch_missing(service: Services, names: Iterable[str]) -> None:
    """Have the engine fetch the LoRAs that are not on the disk; raises ServiceError, also where they are not then.

    Names that are no ids on a hub, and all where clients may not load anything, are left to whoever looks them up.
    """
    if service.settings.model_loading != "any":
        return
    for name in names:
        if HUB_ID.fullmatch(name) and service.loras.named(name) is None:
            service.client.loras(LoraRequest(job=service.request_ids.next_id(), fetch=name))
            repository = name.partition(":")[0]
            # Where the repository's folder is here, the name is one of several or of none, which is said later.
            if not any(here.startswith(f"{repository}/") for here in service.loras.names()):
                raise InvalidParameter(
                    f"loras: {name} was fetched by another machine, but LORA_DIR here does not have it: without an "
                    "engine on the first machine, LoRAs of a hub need a LORA_DIR that all machines share.",
                    param="loras",
                )
