"""The image of an earlier response, by the id of that response or of its image call, for whichever worker is asked.

An id contains the key of its image, so that an answer without an image of its own passes the one before it on. The
images are in the cache on disk, which bounds them (CACHE_MAX_MB); each credential finds its own only.
"""

import re
import secrets
from dataclasses import dataclass

from imageserver.api.generation.run import GenerationResult
from imageserver.api.inputs.validation import shown
from imageserver.api.request_context import credential
from imageserver.api.services import Services
from imageserver.errors import InvalidParameter
from imageserver.outputs.cache import Answer, key_of

KEY_BYTES = 12
NO_IMAGE = "0" * 2 * KEY_BYTES
RESPONSE, IMAGE_CALL = "resp_", "ig_"
ID = re.compile(rf"(?:{RESPONSE}|{IMAGE_CALL})([0-9a-f]{{{2 * KEY_BYTES}}})[0-9a-f]{{{2 * KEY_BYTES}}}")


@dataclass(frozen=True)
class Ids:
    """The ids of a response and of what is in it; `image` is the key of the image that a next response finds."""

    image: str
    own: str

    @property
    def response(self) -> str:
        return f"{RESPONSE}{self.image}{self.own}"

    @property
    def image_call(self) -> str:
        return f"{IMAGE_CALL}{self.image}{self.own}"

    @property
    def message(self) -> str:
        return f"msg_{self.own}"


def new_ids() -> Ids:
    """Return the ids of a response with an image."""
    return Ids(secrets.token_hex(KEY_BYTES), secrets.token_hex(KEY_BYTES))


def ids_after(previous: str | None) -> Ids:
    """Return the ids of a response without an image: the image of the one before it stays the last one."""
    found = ID.fullmatch(previous or "")
    return Ids(found[1] if found else NO_IMAGE, secrets.token_hex(KEY_BYTES))


def keep(service: Services, ids: Ids, result: GenerationResult) -> None:
    """Keep the image of a response, as long as the cache has room."""
    answer = Answer(result.outcome, result.files[:1])
    service.thread_pool.run(service.cache.put, _cache_key(ids.image), answer)


def image_key(name: str, *, param: str) -> str | None:
    """Return the key of the image of a response or a call, None if it has none; raises InvalidParameter."""
    found = ID.fullmatch(name)
    if found is None:
        raise InvalidParameter(f"{param}: {shown(name)} is not the id of a response.", param=param)
    return None if found[1] == NO_IMAGE else found[1]


def find(service: Services, image: str, *, param: str) -> bytes:
    """Return the image under a key; raises InvalidParameter if it is not kept."""
    answer = service.thread_pool.run(service.cache.get, _cache_key(image))
    if answer is None:
        raise InvalidParameter(
            f"{param}: the image of that response is not kept (any more); send it as an input_image.", param=param
        )
    return answer.files[0]


def _cache_key(image: str) -> str:
    return key_of("response", credential(), image)
