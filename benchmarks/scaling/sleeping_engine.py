"""An engine that sleeps along the published curve: batches, steps and messages are real, nothing is computed.

Eight engines with PyTorch would keep two cores busy by themselves.
"""

import os
import queue
import threading
import time
from dataclasses import dataclass

from benchmarks.curve import forward_seconds
from imageserver.generation import DeviceInfo, Generation, ModelInfo, Outcome
from imageserver.protocol.channel import Channel
from imageserver.protocol.engine_config import read_engine_config
from imageserver.protocol.messages import AnyMessage, Finished, Hello, Ping, Pong, Progress, Ready, Run, Started

# Seconds of every forward, instead of the curve's.
FORWARD_VARIABLE = "SCALING_FORWARD_SECONDS"
MAX_BATCH = 8
INFO = ModelInfo(
    name="sleeping", device=DeviceInfo(batch_caps={"up to 262144 pixels": MAX_BATCH}, max_in_flight=2 * MAX_BATCH)
)


@dataclass
class SleepingJob:
    """A job and how far it is."""

    number: int
    generation: Generation
    began: float
    steps: int = 0
    device_time: float = 0.0

    @property
    def pixels(self) -> int:
        return self.generation.width * self.generation.height


class SleepingEngine:
    """Steps the oldest jobs of one size together, one forward after the other."""

    def __init__(self) -> None:
        address = read_engine_config().address
        self._fixed = os.environ.get(FORWARD_VARIABLE, "")
        self._channel = Channel(address.connect())
        self._channel.send(Hello(role="engine", key=address.key, pid=os.getpid()))
        self._inbox: queue.SimpleQueue[AnyMessage] = queue.SimpleQueue()
        self._jobs: dict[int, SleepingJob] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def serve(self) -> None:
        """Generate until the connection closes."""
        self._channel.send(Ready(info=INFO))
        while True:
            while not self._jobs or not self._inbox.empty():
                self._receive(self._inbox.get())
            self._step()

    def _read(self) -> None:
        for message, _ in self._channel:
            self._inbox.put(message)
        os._exit(0)

    def _receive(self, message: AnyMessage) -> None:
        match message:
            case Ping():
                self._channel.send(Pong())
            case Run():
                self._jobs[message.job] = SleepingJob(message.job, message.generation, time.monotonic())
                self._channel.send(Started(job=message.job))

    def _step(self) -> None:
        pixels = next(iter(self._jobs.values())).pixels
        batch = [job for job in self._jobs.values() if job.pixels == pixels][:MAX_BATCH]
        seconds = float(self._fixed) if self._fixed else forward_seconds(pixels, len(batch))
        time.sleep(seconds)
        for job in batch:
            job.steps += 1
            job.device_time += seconds / len(batch)
            self._channel.send(Progress(job=job.number, step=job.steps, total=job.generation.steps))
            if job.steps == job.generation.steps:
                del self._jobs[job.number]
                self._finish(job, len(batch))

    def _finish(self, job: SleepingJob, batch_size: int) -> None:
        width, height = job.generation.width, job.generation.height
        outcome = Outcome(
            width=width, height=height, seeds=(job.generation.seed,), inference_time=time.monotonic() - job.began,
            queue_time=0.0, batch_size=batch_size, device_time=job.device_time,
        )  # fmt: skip
        self._channel.send(Finished(job=job.number, outcome=outcome), bytes(width * height * 3))


if __name__ == "__main__":
    SleepingEngine().serve()
