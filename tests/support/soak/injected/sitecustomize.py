"""Runs first in every process of a server under a soak: counts what no file in /proc tells, and lets days pass.

`SOAK_FOLDER` gets a file by process id with its greenlets and blocks of memory. `SOAK_CLOCK` is how fast the wall
clock of the dispatcher goes, by which the device seconds of hours and days are counted (it dates no file), and how much
sooner it forgets the attempts of clients; of ended jobs it remembers a few. Saved images, thumbnails, answers and
deletions are swept every two seconds.
"""

import _thread
import os
import sys
import time
import weakref
from pathlib import Path
from typing import Any

INTERVAL_SECONDS = 2.0
# Of ended jobs in the dispatcher.
MAX_RECORDS = 20
# Before gevent replaces it.
sleep = time.sleep


def count_for_ever(folder: str) -> None:
    file, greenlets = Path(folder) / str(os.getpid()), None
    while True:
        sleep(INTERVAL_SECONDS)
        if greenlets is None and "gevent" in sys.modules:
            greenlets = followed_greenlets()
        file.with_suffix(".new").write_text(f"{len(greenlets or ())} {sys.getallocatedblocks()}")
        file.with_suffix(".new").replace(file)


def followed_greenlets() -> "weakref.WeakSet[Any]":
    """Return the greenlets that are spawned from now on and still exist.

    Not those among all objects: a tuple that another thread is making breaks when somebody looks at it.
    """
    from gevent.greenlet import Greenlet

    greenlets: weakref.WeakSet[Any] = weakref.WeakSet()
    Greenlet.add_spawn_callback(greenlets.add)
    return greenlets


def accelerate(factor: float) -> None:
    real, began = time.time, time.time()
    time.time = lambda: began + factor * (real() - began)
    from imageserver.dispatch import job_records, single_flight

    job_records.MAX_RECORDS = MAX_RECORDS
    single_flight.KEPT_SECONDS /= factor
    single_flight.REFUSED_SECONDS /= factor


def start() -> None:
    _thread.start_new_thread(count_for_ever, (os.environ["SOAK_FOLDER"],))


def sweep_often() -> None:
    from imageserver.outputs import cache, folder
    from imageserver.outputs.gallery import gallery, thumbnails

    for module in (cache, folder, thumbnails):
        module.SWEEP_INTERVAL_SECONDS = INTERVAL_SECONDS
    gallery.UNDO_SECONDS = gallery.UNDO_MARGIN_SECONDS = INTERVAL_SECONDS


# Before anybody else imports these modules, so that nobody has the true values.
if "imageserver.dispatch" in sys.orig_argv:
    accelerate(float(os.environ["SOAK_CLOCK"]))
elif "qwen_image_server:app" in sys.orig_argv:
    sweep_often()
start()
os.register_at_fork(after_in_child=start)
