"""What is written to the disk and kept in memory: images, tasks, state."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, SecretStr

from imageserver.settings.env_file import UserPath
from imageserver.web_addresses import checked_hosts

STORE_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+")


def checked_url(text: str) -> str:
    """Return the URL of a folder without a slash at its end; raises ValueError for anything else."""
    if text and not STORE_URL.fullmatch(text):
        raise ValueError("it is not the URL of a folder, such as s3://bucket/folder")
    if "@" in text:
        raise ValueError("it contains an @: passwords belong in the variables of its filesystem, not in an address")
    return text.rstrip("/")


class FileSettings(BaseModel):
    """What is written to the disk and kept in memory: images, tasks, state."""

    output_dir: UserPath = Field(Path("tmp"), description="Folder for images saved by save_to_file.")
    output_url: Annotated[str, AfterValidator(checked_url)] = Field(
        "",
        description="URL of a folder that saved images go to instead, such as s3://bucket/folder; any filesystem of "
        "fsspec.",
    )
    output_redirect: bool = Field(
        False,
        description="1 redirects the address of a saved image to one that the store of OUTPUT_URL signs; otherwise "
        "this server hands the image out.",
    )
    output_unsent_mb: float = Field(
        1024.0,
        ge=0,
        description="Maximum size of saved images that wait in STATE_DIR while OUTPUT_URL cannot be reached, in MiB.",
    )
    tmp_max_mb: float = Field(
        2048.0,
        gt=0,
        description="Maximum size of the output folder or store, in MiB; the oldest saved images go first.",
    )
    tmp_max_age: float = Field(7 * 86400.0, gt=0, description="Seconds that saved images are kept.")
    gallery: bool = Field(
        True,
        description="0 keeps no gallery of saved images: no prompts are stored from then on, and /v1/gallery answers "
        "404.",
    )
    gallery_max_images: int = Field(
        10_000,
        ge=1,
        description="Maximum number of saved images in the gallery; the oldest leave it first, favourites last.",
    )
    provenance: bool = Field(
        True,
        description="0 or off leaves the XMP mark of generated images out, and the seal that /v1/verify reads.",
    )
    c2pa_cert: UserPath | None = Field(
        None,
        description="PEM file of the certificate that signs a C2PA manifest in every generated image, and of those of "
        "its issuers after it; needs C2PA_KEY.",
    )
    c2pa_key: UserPath | None = Field(
        None, description="PEM file of the private key of C2PA_CERT, which other users cannot read."
    )
    url_ttl: float = Field(
        0.0,
        ge=0,
        le=10 * 365 * 86400,
        description="Seconds that the signed address of a saved image opens it, with keys, and up to a tenth more; 0 "
        "sets no end.",
    )
    cache_max_mb: float = Field(
        512.0, ge=0, description="Maximum size of the cache of finished answers, in MiB; 0 switches it off."
    )
    state_dir: UserPath = Field(
        Path("state"), description="Folder for what must survive a restart, such as request ids."
    )
    state_max_mb: float = Field(
        64.0,
        ge=1,
        description="Maximum size of the state database, in MiB; the oldest ended tasks go first.",
    )
    task_ttl: float = Field(86400.0, gt=0, description="Seconds that a finished task of POST /submit is kept.")
    max_ended_tasks: int = Field(
        10_000, ge=1, description="Maximum number of ended tasks that are kept; the oldest go first."
    )
    webhook_secret: SecretStr | None = Field(
        None, description="Key that signs the webhooks of tasks; without it webhook_url is refused."
    )
    webhook_hosts: Annotated[str, AfterValidator(checked_hosts)] = Field(
        "public",
        description="Hosts that webhooks may go to, comma-separated, each HOST or HOST:PORT, private hosts allowed; "
        "`public` means any public address.",
    )
    font_path: UserPath | None = Field(
        None, description="TrueType font of the overlay; the default covers Latin letters."
    )
