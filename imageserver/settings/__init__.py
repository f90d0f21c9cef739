"""The settings of the server, by subject, and where they are read from. Runs in every process."""

from imageserver.settings.settings import (
    IS_CHECKOUT,
    PACKAGE_DIR,
    START_COMMAND,
    WORKING_DIR,
    Settings,
    env_file,
    shipped_registry,
    variables_of,
)

__all__ = [
    "IS_CHECKOUT",
    "PACKAGE_DIR",
    "START_COMMAND",
    "WORKING_DIR",
    "Settings",
    "env_file",
    "shipped_registry",
    "variables_of",
]
