"""The images that begin before the next forward."""

from collections.abc import Sequence

from imageserver.engine.batching.batch import WaitingCall
from imageserver.engine.batching.running_job import RunningJob

# Everybody else pauses while an image begins, 30 to 40 ms for the text encoder of Qwen-Image on an H100 (predicted).
MAX_BEGUN = 2


def newcomers(ranked: Sequence[RunningJob]) -> list[WaitingCall]:
    """Return the images to begin now, of jobs in the order of their turns: a few beside others, else a whole batch."""
    images = [(job, track) for job in ranked if not job.is_writing for track in job.tracks if not track.dead]
    waiting = [image for image in images if not image[1].begun]
    if not waiting or len(waiting) < len(images):
        return waiting[:MAX_BEGUN]
    first, _ = waiting[0]
    return waiting[: max(MAX_BEGUN, first.model.cap_of(first.pixels))]
