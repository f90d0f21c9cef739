"""The better prompt of a generation, where ENHANCE_URL writes it; otherwise the engine does, between its forwards."""

import logging
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING

import gevent
from gevent.event import Event

from imageserver.api.services import Services
from imageserver.enhancement.enhancement import Enhancement, failure
from imageserver.errors import Cancelled
from imageserver.generation import Generation

if TYPE_CHECKING:
    from imageserver.api.outbound.prompt_endpoint import PromptEndpoint

logger = logging.getLogger(__name__)

# So many of the seconds that a client waits are left for its image.
IMAGE_SHARE = 0.5


def is_asked_for(service: Services, generation: Generation) -> bool:
    """Whether an endpoint is asked before the generation is submitted, which may take half a minute."""
    return generation.enhancement is not None and service.prompt_endpoint is not None


def with_better_prompt(
    service: Services, generation: Generation, credential: str, *, left: float, stopped: Event, pause: float
) -> Generator[None, None, tuple[Generation, list[str]]]:
    """Return a generation for the engine; without its enhancement, and with a warning, where none could be written.

    The client waits for `left` seconds more. Yields after every `pause` seconds; raises Cancelled once it is `stopped`.
    """
    wanted, endpoint = generation.enhancement, service.prompt_endpoint
    if wanted is None or endpoint is None:
        return generation, []
    info = service.info_of(generation.model)
    edits = generation.source is not None and info is not None and "edit" in info.kinds
    seconds = left * (1 - IMAGE_SHARE)
    if stopped.is_set():
        raise Cancelled("The generation was cancelled.")
    # Apart, so that a client that leaves need not wait for the answer.
    asking = gevent.spawn(_ask, endpoint, wanted, credential, edits=edits, seconds=seconds)
    try:
        while not gevent.wait((asking, stopped), timeout=pause, count=1):
            yield None
    finally:
        asking.kill(block=False)
    if stopped.is_set():
        raise Cancelled("The generation was cancelled.")
    revised, reason = asking.get()
    if reason:
        logger.warning("A prompt could not be enhanced: %s.", reason)
        return replace(generation, enhancement=None), [failure(reason)]
    return replace(generation, enhancement=replace(wanted, revised=revised)), []


def _ask(
    endpoint: "PromptEndpoint", wanted: Enhancement, credential: str, *, edits: bool, seconds: float
) -> tuple[str, str]:
    """Return a better prompt, or the reason why there is none."""
    # Only with an endpoint, because it imports requests.
    from imageserver.api.outbound.prompt_endpoint import EndpointFailed

    try:
        return endpoint.better_prompt(wanted.prompt, credential, edits=edits, seconds=seconds), ""
    except EndpointFailed as error:
        # Returned: gevent would log it.
        return "", str(error)
