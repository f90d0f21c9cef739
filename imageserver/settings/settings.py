"""Every setting of the server, read once from the environment and `.env`; each subject has a file beside this one.

Each field's description is its one sentence of help: `.env.example` and docs/settings.md are generated from it.
"""

from pathlib import Path

from pydantic import AliasChoices, PrivateAttr
from pydantic_settings import BaseSettings, SettingsConfigDict

from imageserver.registry import Registry, read_registry
from imageserver.settings.access import AccessSettings
from imageserver.settings.cluster import ClusterSettings
from imageserver.settings.device import DeviceSettings
from imageserver.settings.enhancement import EnhancementSettings
from imageserver.settings.files import FileSettings
from imageserver.settings.models import ModelSettings
from imageserver.settings.network import NetworkSettings
from imageserver.settings.processes import ProcessSettings
from imageserver.settings.queue import QueueSettings
from imageserver.settings.requests import RequestSettings

# What is shipped: the demo model, ControlNets, LoRAs, models.toml.
PACKAGE_DIR = Path(__file__).resolve().parents[1]
# A copy may have left one of them out; an installed package has neither beside it.
IS_CHECKOUT = any(
    (PACKAGE_DIR.parent / name).is_file() for name in ("pyproject.toml", "start_server.sh", "start_server.bat")
)
START_COMMAND = "bash start_server.sh" if IS_CHECKOUT else "qwen-image-server serve"
# Where `.env` is and relative paths such as `state` and `tmp` begin: in a checkout the project's folder, wherever it is
# started; for an installed wheel the folder it is started in, because nothing is written among installed packages.
WORKING_DIR = PACKAGE_DIR.parent if IS_CHECKOUT else Path.cwd()


class Settings(
    FileSettings,
    QueueSettings,
    EnhancementSettings,
    RequestSettings,
    DeviceSettings,
    ModelSettings,
    ClusterSettings,
    ProcessSettings,
    AccessSettings,
    NetworkSettings,
    BaseSettings,
):
    """Everything a user can set; the environment variable is the field's name in capitals.

    pydantic orders the fields from the last base to the first.
    """

    model_config = SettingsConfigDict(
        env_file=WORKING_DIR / ".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        validate_by_name=True,
        validate_by_alias=True,
    )

    _accepted_registry: Registry | None = PrivateAttr(None)

    @property
    def default_size(self) -> str | None:
        """Return WIDTHxHEIGHT of requests that name no size, None for the model's default."""
        return f"{self.default_width}x{self.default_height}" if self.default_width and self.default_height else None

    @property
    def asks_for_keys(self) -> bool:
        """Whether clients must authenticate."""
        return bool(self.api_keys) or self.api_keys_file is not None or self.hf_auth != "off"

    def resolve(self, path: Path) -> Path:
        """Return `path`, relative to the project's root unless it is absolute."""
        return WORKING_DIR / path

    def registry(self) -> Registry:
        """Return the named models; raises RegistryUnusable."""
        if self._accepted_registry is not None:
            return self._accepted_registry
        file = self.resolve(self.models_file)
        if self.models_file == Settings.model_fields["models_file"].default and not file.exists():
            return shipped_registry()  # the user has no file of their own
        return read_registry(file)

    def accept_registry(self) -> None:
        """Keep the named models as they are now: MODELS_FILE may be wrong later. Raises RegistryUnusable."""
        self._accepted_registry = self.registry()


def shipped_registry() -> Registry:
    """Return the named models that come with the server, whatever MODELS_FILE says."""
    return read_registry(PACKAGE_DIR / "models.toml")


def env_file() -> Path | None:
    """Return the file that settings are read from besides the environment, whether it exists or not."""
    file = Settings.model_config["env_file"]
    return file if isinstance(file, Path) else None


def variables_of(field: str) -> list[str]:
    """Return the environment variables of a setting, the preferred one first."""
    alias = Settings.model_fields[field].validation_alias
    return [str(name) for name in alias.choices] if isinstance(alias, AliasChoices) else [field.upper()]
