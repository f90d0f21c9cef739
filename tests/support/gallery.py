"""A gallery over a folder of real images, and all routes of a server around it, without an engine."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from flask import Flask

from imageserver.api import routes
from imageserver.api.addresses.links import Links
from imageserver.api.credentials.api_keys import Keyring
from imageserver.api.credentials.key_entries import KeyEntry
from imageserver.api.credentials.url_signer import UrlSigner
from imageserver.api.request_context import EXTENSION
from imageserver.api.wsgi.memory_budget import MemoryBudget
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.imaging.provenance.sealing import Sealer
from imageserver.outputs.folder import OutputFolder
from imageserver.outputs.gallery.gallery import Gallery
from imageserver.outputs.gallery.item import GalleryItem
from imageserver.outputs.gallery.thumbnails import Thumbnails
from imageserver.outputs.naming import file_stem
from imageserver.settings import Settings
from imageserver.telemetry.metric_registry import MetricRegistry
from tests.support.images import one_colour

WHEN = datetime(2026, 11, 20, 15, 4, 5, tzinfo=UTC)


def open_gallery(folder: Path, **changes: Any) -> Gallery:
    """Return a gallery with wide limits."""
    return Gallery(folder / "state", **({"max_items": 1000, "max_bytes": 2**20} | changes))


def gallery_item(name: str, prompt: str = "a red circle", credential: str = "", **changes: Any) -> GalleryItem:
    """Return an item as a generation leaves it."""
    fields = {"width": 96, "height": 64, "model": "demo", "settings": {"prompt": prompt, "seed": 7}}
    return GalleryItem(name=name, credential=credential, **(fields | changes))


class GalleryServer:
    """The routes of a server with a gallery; `entries` are its keys."""

    def __init__(self, folder: Path, *entries: KeyEntry, **changes: Any) -> None:
        settings = Settings(_env_file=None, output_dir=folder / "images", state_dir=folder / "state", **changes)
        self.gallery = open_gallery(folder) if settings.gallery else None
        self.outputs = OutputFolder(folder / "images", max_mb=100, max_age=3600)
        self.thumbnails = Thumbnails(folder / "state" / "thumbnails", max_mb=10)
        self.app = Flask("gallery", static_folder=None)
        self.app.config["MAX_CONTENT_LENGTH"] = 2**20
        routes.register(self.app, settings)
        self.service = self.app.extensions[EXTENSION] = SimpleNamespace(
            settings=settings, gallery=self.gallery, outputs=self.outputs, thumbnails=self.thumbnails,
            keyring=Keyring(entries, locked=bool(entries)), huggingface_tokens=None, links=Links(settings),
            url_signer=UrlSigner(b"secret") if entries else None, request_ids=SimpleNamespace(next_id=lambda: 5),
            measurements=MetricRegistry(), sealer=Sealer(b"s" * 32), manifest_reader=None,
            thread_pool=ThreadPool(1), storage_threads=ThreadPool(1), decoding_memory=MemoryBudget(2**30),
        )  # fmt: skip

    def save(self, number: int, prompt: str = "a red circle", credential: str = "", colour: str = "teal") -> str:
        """Save an image, add it to the gallery, and return its name."""
        name = self.outputs.save(one_colour(800, 400, colour), stem=file_stem(WHEN, number), extension="png")
        if self.gallery is not None:
            self.gallery.add([gallery_item(name, prompt, credential, width=800, height=400)])
        return name

    def ask(self, method: str, path: str, key: str | None = None, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        headers |= options.pop("headers", {})
        return self.app.test_client().open(path, method=method, headers=headers, buffered=True, **options)

    def listed(self, query: str = "", key: str | None = None) -> list[str]:
        """Return the names in an answer of `GET /v1/gallery`."""
        return [item["name"] for item in self.ask("GET", f"/v1/gallery?{query}", key).get_json()["data"]]
