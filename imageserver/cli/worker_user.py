"""The user that gunicorn's `--user` gives to the workers, who must be able to use what is made before they start."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def as_worker(server: Any) -> Iterator[None]:
    """Let gunicorn's main process make and open files in this block as its workers will.

    As root it would make a state, secrets and a log file that no worker can read, and refuse what only they can write.
    """
    user, group = server.cfg.uid, server.cfg.gid
    own_user, own_group = os.geteuid(), os.getegid()
    if own_user != 0 or (user, group) == (own_user, own_group):
        yield
        return
    os.setegid(group)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(own_user)
        os.setegid(own_group)
