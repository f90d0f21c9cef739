"""The images that a generation starts from and is guided by: admitted, then decoded and fitted in one piece of work.

57 KB of PNG become 50 MB of pixels. Decoded before the queue had a say and kept until the size was known, 130 requests
held 6.2 GB; here as many are decoded at a time as MAX_DECODE_MB has room for.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from flask import request

from imageserver.api.inputs.generate_request import GenerateBody
from imageserver.api.inputs.images import control_image as control_images
from imageserver.api.inputs.images import init_image as init_images
from imageserver.api.inputs.images import layers
from imageserver.api.inputs.images.init_image import ReadImage
from imageserver.api.inputs.images.request_images import Images
from imageserver.api.request_context import credential
from imageserver.api.services import Services
from imageserver.generation import Generation, ModelInfo
from imageserver.settings import Settings

# Returns the generation, and warnings, for a request whose images suggest a size; raises InvalidParameter.
Resolve = Callable[[tuple[int, int] | None], tuple[Generation, list[str]]]


@dataclass(frozen=True)
class Sourced:
    """A generation with the pixels that it starts from, warnings, and the seconds that it waited for memory."""

    generation: Generation
    pixels: bytes = b""
    warnings: list[str] = field(default_factory=list)
    waited: float = 0.0


@dataclass(frozen=True)
class SourceImages:
    """The images of request `number` of a client that waits `timeout` seconds.

    `asks` says whether a full queue refuses it before its images are decoded.
    """

    number: int
    images: Images
    body: GenerateBody
    info: ModelInfo | None
    timeout: float
    asks: bool

    def read(self, service: Services, resolve: Resolve) -> Sourced:
        """Decode the images and fit them to the size of the generation.

        Raises InvalidParameter naming the field and its limit, what refuses a generation, DeadlineExceeded, and
        Cancelled when the client leaves while it waits.
        """
        if self.images == Images():
            return self._fit(service.settings, resolve)
        # Before it waits: most mistakes show in the headers.
        needed = service.thread_pool.run(self._memory_needed, service.settings)
        began = time.monotonic()
        with service.decoding_memory.reserve(needed, self.timeout, request.environ):
            waited = time.monotonic() - began
            if self.asks:
                service.client.request_admission(self.number, credential())
            sourced = service.thread_pool.run(self._fit, service.settings, resolve)
        # Clients read what is left of their time in error messages: one decimal is enough.
        return replace(sourced, waited=round(waited, 1))

    def _memory_needed(self, settings: Settings) -> int:
        start = self.images.init_image
        needed = init_images.memory_needed(start, settings, self.info) if start else 0
        return needed + control_images.memory_needed(self.images.control_images, self.body, settings)

    def _fit(self, settings: Settings, resolve: Resolve) -> Sourced:
        """Decode and fit; for a thread of the pool, which holds no large image afterwards."""
        given, controls = self.images.init_image, self.images.control_images
        start = init_images.read(given, settings, self.info) if given else None
        guides = [init_images.read(control_images.as_init_image(control), settings) for control in controls]
        sizing = start or next(iter(guides), None)
        generation, warnings = resolve(sizing.default_size if sizing else None)
        generation, pixels, about_start = self._with_start(generation, start)
        about_size = sizing.warnings if sizing else []
        for control, guide in zip(controls, guides, strict=True):
            generation, guiding = control_images.guide(control, self.body, generation, guide, settings)
            pixels += guiding
        about_controls = control_images.unused(self.body, controls)
        return Sourced(generation, pixels, [*warnings, *about_start, *about_size, *about_controls])

    def _with_start(self, generation: Generation, start: ReadImage | None) -> tuple[Generation, bytes, list[str]]:
        """Return the generation with its init image, the image's pixels, and warnings."""
        body, info = self.body, self.info
        if start is None:
            return generation, b"", [] if body.strength is None else ["strength is ignored without an image."]
        warnings: list[str] = []
        if info is not None and info.layers:
            generation = layers.sized(generation, start)
            warnings += layers.without_effect(body)
        inpaints = start.mask is not None and info is not None and "inpaint" in info.kinds
        edits = info is not None and "edit" in info.kinds and not inpaints
        if edits and body.strength is not None:
            warnings.append("strength has no effect: the model edits the image instead of generating over it.")
        # All steps of an edit are done.
        source, pixels = start.fit(generation, 1.0 if edits else body.strength)
        return replace(generation, source=source), pixels, warnings
