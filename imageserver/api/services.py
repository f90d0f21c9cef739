"""Every long-lived object of one HTTP worker, created once in `create_app` and passed to the views."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import gevent

from imageserver.api.addresses.links import Links
from imageserver.api.credentials.api_keys import Keyring
from imageserver.api.credentials.url_signer import UrlSigner
from imageserver.api.page.styles import Styles
from imageserver.api.wsgi.bodies.waiting import WaitingBytes
from imageserver.api.wsgi.connections import Connections
from imageserver.api.wsgi.memory_budget import MemoryBudget
from imageserver.api.wsgi.request_ids import RequestIds
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.dispatch.client.client import DispatchClient
from imageserver.dispatch.client.measurement_link import MeasurementLink
from imageserver.errors import Draining, Loading
from imageserver.generation import ModelInfo
from imageserver.imaging.provenance.sealing import Sealer
from imageserver.lora_folder import LoraFolder
from imageserver.outputs.cache import OutputCache
from imageserver.outputs.gallery.gallery import Gallery
from imageserver.outputs.gallery.thumbnails import Thumbnails
from imageserver.outputs.store import OutputStore
from imageserver.outputs.task_store import TaskStore
from imageserver.outputs.webhook_store import WebhookStore
from imageserver.protocol.messages import Snapshot
from imageserver.registry import Registry
from imageserver.settings import Settings
from imageserver.telemetry.metric_registry import MetricRegistry
from imageserver.web_addresses import TrustedProxies

if TYPE_CHECKING:
    # They import requests, c2pa or more, which takes time and is needed only with these settings.
    from imageserver.api.credentials.huggingface_tokens import HuggingFaceTokens
    from imageserver.api.outbound.prompt_endpoint import PromptEndpoint
    from imageserver.api.outbound.webhooks import WebhookSender
    from imageserver.imaging.provenance.manifests.reading import ManifestReader
    from imageserver.imaging.provenance.manifests.signer import ManifestSigner
    from imageserver.telemetry.tracing.tracing import Tracing

logger = logging.getLogger(__name__)

WARM_UP_SECONDS = 1.0
MAINTENANCE_INTERVAL_SECONDS = 2.0
# Our own 503 must be sent before gunicorn closes the remaining connections.
DRAIN_MARGIN_SECONDS = 1.5


@dataclass
class Services:
    """The objects of one worker."""

    settings: Settings
    client: DispatchClient
    outputs: OutputStore
    cache: OutputCache
    # None with GALLERY=0.
    gallery: Gallery | None
    thumbnails: Thumbnails
    thread_pool: ThreadPool
    # Apart, so that a store that hangs keeps nobody from encoding.
    storage_threads: ThreadPool
    decoding_memory: MemoryBudget
    waiting: WaitingBytes
    request_ids: RequestIds
    tasks: TaskStore
    webhook_store: WebhookStore
    webhooks: "WebhookSender | None"
    keyring: Keyring
    url_signer: UrlSigner | None
    sealer: Sealer
    # None without C2PA_CERT, and where that cannot be used.
    signer: "ManifestSigner | None"
    # None without the extra c2pa.
    manifest_reader: "ManifestReader | None"
    huggingface_tokens: "HuggingFaceTokens | None"
    loras: LoraFolder
    connections: Connections
    proxies: TrustedProxies
    links: Links
    styles: Styles
    measurements: MetricRegistry
    measurement_link: MeasurementLink
    # None without a collector.
    tracing: "Tracing | None" = None
    # None without ENHANCE_URL.
    prompt_endpoint: "PromptEndpoint | None" = None
    # Why C2PA_CERT cannot be used.
    signer_problem: str = ""
    draining: bool = False

    def start(self) -> None:
        """Connect to the dispatcher; import numpy and Pillow and look after saved images in the background."""
        self.client.start()
        gevent.spawn_later(WARM_UP_SECONDS, self.thread_pool.run, import_imaging)
        self.outputs.start()
        # Apart from what waits for a thread: those may all wait for a process that is to be replaced.
        gevent.spawn(_repeat, self.outputs.start)
        gevent.spawn(_repeat, self.measurement_link.flush)
        # Saved images expire even if no new ones are saved.
        gevent.spawn(_repeat, partial(self.storage_threads.run, self.outputs.maintain))

    @property
    def snapshot(self) -> Snapshot | None:
        """The dispatcher's last snapshot, or None while it cannot be reached."""
        return self.client.snapshot

    @property
    def output_sealer(self) -> Sealer | None:
        """What marks and seals generated images, None with PROVENANCE=off."""
        return self.sealer if self.settings.provenance else None

    @property
    def output_signer(self) -> "ManifestSigner | None":
        """What signs generated images, None without C2PA_CERT and while that is not valid."""
        return self.signer if self.signer and self.signer.certificate.is_valid else None

    @property
    def default_info(self) -> ModelInfo | None:
        """The ModelInfo of the default model, or None while it loads for the first time."""
        return self.snapshot.info if self.snapshot else None

    def info_of(self, name: str) -> ModelInfo | None:
        """Return the ModelInfo of a model by name ("" is the default model), or None before its first load.

        It outlives a restart of the engine.
        """
        if self.snapshot is None:
            return None
        wanted = name or self.snapshot.default
        return next((info for info in self.snapshot.models if info.name == wanted), None)

    @cached_property
    def registry(self) -> Registry:
        """The models in MODELS_FILE, and the built-in ones, by name."""
        return self.settings.registry()

    def loaded_info(self) -> ModelInfo:
        """Return the ModelInfo of the default model; raises Loading before its first load."""
        info = self.default_info
        if info is None:
            if self.snapshot is None:
                raise Loading("The model is not loaded yet: the dispatcher is starting.", retry_after=2)
            raise Loading(f"The model is not loaded yet: {self.snapshot.reason}", retry_after=self.snapshot.retry_after)
        return info

    @property
    def status(self) -> str:
        """`loading`, `healthy`, `degraded` or `draining`."""
        if self.draining:
            return "draining"
        if self.snapshot is None:
            return "loading"
        return "degraded" if self.snapshot.state == "healthy" and self._obstacle else self.snapshot.state

    @property
    def reason(self) -> str:
        """Why the status is what it is, or why this model was chosen."""
        if self.snapshot is None:
            return "The dispatcher is starting."
        return (self.snapshot.state == "healthy" and self._obstacle) or self.snapshot.reason

    @property
    def _obstacle(self) -> str:
        """Why something cannot be stored or signed, though images are generated."""
        return self.tasks.obstacle or self.outputs.obstacle or self._signing_obstacle

    @property
    def _signing_obstacle(self) -> str:
        if self.signer is None or self.output_signer is not None:
            return self.signer_problem
        certificate = self.signer.certificate
        if not certificate.has_begun:
            return f"C2PA_CERT is valid from {certificate.begins:%Y-%m-%d %H:%M} UTC: images have no C2PA manifest yet."
        return f"C2PA_CERT expired at {certificate.expires:%Y-%m-%d %H:%M} UTC: images have no C2PA manifest."

    def drain(self) -> None:
        """Report `draining`, and fail what still runs with our own 503 before GRACEFUL_TIMEOUT ends.

        Requests that arrive before the listener closes are still served: their clients cannot know of a reload.
        """
        if not self.draining:
            self.draining = True
            delay = max(0.5, self.settings.graceful_timeout - DRAIN_MARGIN_SECONDS)
            # Called from a signal handler, where starting a thread would block the loop.
            gevent.spawn_later(delay, self.client.fail_all, Draining("The server is stopping.", retry_after=5))


def _repeat(work: Callable[[], None]) -> None:
    while True:
        gevent.sleep(MAINTENANCE_INTERVAL_SECONDS)
        try:
            work()
        except Exception:
            logger.exception("Work in the background failed; it is tried again.")


def import_imaging() -> None:
    """Import what the threads encode and decode with, which takes 0.2 s; Pillow loads its formats when it needs one."""
    from PIL import Image

    import imageserver.imaging.control.preprocessors
    import imageserver.imaging.decoding
    import imageserver.imaging.finishing
    import imageserver.imaging.fitting
    import imageserver.imaging.masks
    import imageserver.imaging.previews
    import imageserver.imaging.thumbnails  # noqa: F401

    Image.init()
