"""The settings of the server, a file for each subject, and where they are read from. Process: every one.

May import the registry and the other modules beside this package.
"""

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
