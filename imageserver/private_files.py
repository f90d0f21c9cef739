"""What the server keeps is for its user alone: prompts, images, addresses with passwords."""

from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


def make_private_folder(folder: Path) -> None:
    """Make a folder unless there is one: that may be somebody else's, such as /tmp, and keeps its mode."""
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
