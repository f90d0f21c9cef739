"""Reads the settings from the environment and `.env`, or ends the start with a sentence."""

from pydantic import ValidationError

from imageserver.registry import RegistryUnusable
from imageserver.settings import Settings, env_file
from imageserver.settings.contradictions import contradiction_in
from imageserver.settings.env_file import EnvFileUnusable, encoding_of


def load_settings() -> Settings:
    """Read the settings; raises SystemExit with one sentence per wrong setting, or for an unusable MODELS_FILE."""
    try:
        settings = Settings(_env_file_encoding=encoding_of(env_file()))
        settings.accept_registry()
    except ValidationError as error:
        complaints = [
            f"{str(item['loc'][0]).upper()}={item.get('input')!r} is not valid: {item['msg']}."
            for item in error.errors()
        ]
        raise SystemExit("Invalid setting. " + " ".join(complaints)) from None
    except EnvFileUnusable as error:
        raise SystemExit(str(error)) from None
    except RegistryUnusable as error:
        raise SystemExit(f"MODELS_FILE={settings.models_file} cannot be used. {error}") from None
    if complaint := contradiction_in(settings):
        raise SystemExit(complaint)
    return settings
