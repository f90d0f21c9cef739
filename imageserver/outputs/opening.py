"""Which store the settings mean."""

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from imageserver.outputs.folder import OutputFolder
from imageserver.outputs.object_store.remote_outputs import RemoteOutputs
from imageserver.outputs.store import OutputStore
from imageserver.settings import Settings


def open_outputs(settings: Settings, socket_path: Path | None) -> OutputStore:
    """Return the store of OUTPUT_URL, or the folder where it names one or is empty."""
    folder, url = settings.resolve(settings.output_dir), urlsplit(settings.output_url)
    if settings.output_url and url.scheme != "file":
        return RemoteOutputs(settings, socket_path)
    if settings.output_url:
        folder = Path(url2pathname(url.path))
    return OutputFolder(folder, max_mb=settings.tmp_max_mb, max_age=settings.tmp_max_age)
