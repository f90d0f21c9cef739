"""What is written to the disk and kept in memory: images, tasks, state."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, SecretStr

from imageserver.settings.env_file import UserPath
from imageserver.web_addresses import checked_hosts


class FileSettings(BaseModel):
    """What is written to the disk and kept in memory: images, tasks, state."""

    output_dir: UserPath = Field(Path("tmp"), description="Folder for images saved by save_to_file.")
    tmp_max_mb: float = Field(
        2048.0, gt=0, description="Maximum size of the output folder, in MiB; the oldest saved images go first."
    )
    tmp_max_age: float = Field(7 * 86400.0, gt=0, description="Seconds that saved images are kept.")
    url_ttl: float = Field(
        0.0,
        ge=0,
        le=10 * 365 * 86400,
        description="Seconds that the signed address of a saved image opens it, with keys; 0 sets no end.",
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
