"""What OUTPUT_URL needs before a server starts: the package of its filesystem."""

import importlib.util

from imageserver.settings import IS_CHECKOUT, Settings

FSSPEC = "fsspec"


def require_filesystem(settings: Settings) -> None:
    """Exit with one sentence where OUTPUT_URL names a filesystem that is not installed or unknown."""
    url = settings.output_url
    if not url or url.startswith("file:"):
        return
    protocol = url.partition("://")[0]
    if importlib.util.find_spec(FSSPEC) is None:
        raise SystemExit(f"OUTPUT_URL={url} needs fsspec, which is not installed: {_command(FSSPEC)} installs it.")
    from fsspec.registry import known_implementations

    if protocol not in known_implementations:
        raise SystemExit(f"OUTPUT_URL={url}: fsspec knows no filesystem {protocol}.")
    # Looked up and not imported: s3fs would take two seconds and its memory in gunicorn's main process.
    package = known_implementations[protocol]["class"].partition(".")[0]
    if importlib.util.find_spec(package) is None:
        raise SystemExit(f"OUTPUT_URL={url} needs {package}, which is not installed: {_command(package)} installs it.")


def _command(package: str) -> str:
    if package != "s3fs":
        return f"pip install {package}"
    return "bash start_server.sh" if IS_CHECKOUT else "pip install 'qwen-image-server[s3]'"
