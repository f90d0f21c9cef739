"""Whether the packages of the extra `c2pa` are installed."""

import importlib.util

PACKAGE = "c2pa"


def is_installed() -> bool:
    return importlib.util.find_spec(PACKAGE) is not None
