"""Files that appear whole: written aside and then given their name, so that no reader sees half of one.

Nothing is flushed to the disk: a power cut may cost the newest files, and waiting for the disk would cost every image.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from imageserver.private_files import PRIVATE_FILE, make_private_folder


def write_atomically(file: Path, content: bytes, *, private: bool = False) -> None:
    """Write or replace `file`, for this user alone where it is `private`; raises OSError with nothing left behind."""
    with written_aside(file.parent, content, prefix=file.name, private=private) as aside:
        aside.replace(file)


@contextlib.contextmanager
def written_aside(folder: Path, content: bytes, *, prefix: str, private: bool = False) -> Iterator[Path]:
    """Yield a hidden file with `content`, which the block renames; a file that it did not rename is removed.

    Its name ends in `.part`, by which the leftovers of a killed process are recognised.
    """
    aside = folder / f".{prefix}-{uuid.uuid4().hex}.part"
    try:
        if private:
            make_private_folder(folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)
        aside.touch(mode=PRIVATE_FILE if private else 0o666, exist_ok=False)
        aside.write_bytes(content)
        yield aside
    finally:
        with contextlib.suppress(OSError):
            aside.unlink()


def place_atomically(source: Path, target: Path) -> None:
    """Give a file a second name in one step, replacing what has it, without a copy where the file system can do that.

    Raises OSError with nothing left behind.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}-{uuid.uuid4().hex}.part")
    try:
        try:
            os.link(source, aside)
        except OSError:
            shutil.copyfile(source, aside)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


def move_to_new(aside: Path, target: Path) -> None:
    """Give a finished file its name in one step; raises FileExistsError when the name is taken."""
    try:
        os.link(aside, target)
    except FileExistsError:
        raise
    except OSError:
        # FAT, some network shares and Android have no hard links: claim the name with an empty file, then replace that.
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            aside.replace(target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
