"""An engine in virtual time: the published curve, the real order of jobs, and the host's time that was measured."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.curve import forward_seconds
from imageserver.generation import DeviceInfo, Generation, ModelInfo, Outcome
from imageserver.protocol.messages import Finished, Message, Progress, Run, Started
from imageserver.scheduling_policy import Claim, SchedulingPolicy
from tests.support.dispatch_harness import ScriptedEngine

# What the real engine measures on this curve: the largest batch that gains 5 %.
BATCH_CAPS = {"up to 262144 pixels": 8, "up to 589824 pixels": 4, "up to 1048576 pixels": 1}
MAX_IN_FLIGHT = 16
# Begun beside images that are under way, before each forward.
MAX_NEWCOMERS = 2
INFO = ModelInfo(name="virtual", device=DeviceInfo(batch_caps=BATCH_CAPS, max_in_flight=MAX_IN_FLIGHT))


@dataclass(frozen=True)
class HostSeconds:
    """What the host of a device needs: for an image that begins or ends, between two steps, and for its answer.

    The first three keep the device waiting; the answer is encoded and sent beside it.
    """

    begin: float = 0.03
    step: float = 0.004
    end: float = 0.02
    answer: float = 0.06


@dataclass
class VirtualJob:
    """A job and how far it is."""

    number: int
    generation: Generation
    credential: str
    arrived: float
    steps: int = 0
    begun: bool = False
    device_time: float = 0.0

    @property
    def pixels(self) -> int:
        return self.generation.width * self.generation.height

    def claim(self) -> Claim:
        alone = forward_seconds(self.pixels, 1)
        return Claim(
            owner=self.number, credential=self.credential, priority=self.generation.priority, arrived=self.arrived,
            work=alone * self.generation.steps, remaining=alone * (self.generation.steps - self.steps),
        )  # fmt: skip


class VirtualEngine(ScriptedEngine):
    """Steps jobs as the step scheduler does: the first in order leads, those of its size join up to the cap."""

    def __init__(self, report: Callable[["VirtualEngine", Message], None], host: HostSeconds) -> None:
        super().__init__(room=MAX_IN_FLIGHT)
        self._report = report
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._policy = SchedulingPolicy()
        self._jobs: dict[int, VirtualJob] = {}
        self._is_stepping = False
        self.busy_seconds = 0.0

    def run(self, message: Run, source: bytes = b"") -> None:
        """Begin a job at the next step."""
        super().run(message, source)
        now = self._loop.time()
        self._jobs[message.job] = VirtualJob(message.job, message.generation, message.credential, now - message.waited)
        if not self._is_stepping:
            self._is_stepping = True
            self._loop.call_soon(self._step)

    def _step(self) -> None:
        ranked = self._ranked()
        begun = sum(job.begun for job in ranked)
        newcomers = [job for job in ranked if not job.begun][: MAX_NEWCOMERS if begun else MAX_IN_FLIGHT]
        for job in newcomers:
            job.begun = True
            self._report(self, Started(job=job.number))
        ready = [job for job in ranked if job.begun]
        cap = INFO.device.batch_cap(ready[0].pixels)
        batch = list(itertools.islice((job for job in ready if job.pixels == ready[0].pixels), cap))
        forward = forward_seconds(batch[0].pixels, len(batch))
        ending = sum(job.steps + 1 == job.generation.steps for job in batch)
        host = len(newcomers) * self._host.begin + self._host.step + ending * self._host.end
        for job in batch:
            job.device_time += (forward + host) / len(batch)
            self._policy.charge(job.credential, forward / len(batch))
        self.busy_seconds += forward + host
        self._loop.call_later(forward + host, self._end_step, batch)

    def _end_step(self, batch: list[VirtualJob]) -> None:
        for job in batch:
            job.steps += 1
            self._report(self, Progress(job=job.number, step=job.steps, total=job.generation.steps))
            if job.steps == job.generation.steps:
                del self._jobs[job.number]
                self.running.remove(job.number)
                self._report(self, Finished(job=job.number, outcome=_outcome(job, len(batch))))
        self._is_stepping = bool(self._jobs)
        if self._is_stepping:
            self._step()

    def _ranked(self) -> list[VirtualJob]:
        claims = self._policy.sort([job.claim() for job in self._jobs.values()], self._loop.time())
        return [self._jobs[claim.owner] for claim in claims]


def _outcome(job: VirtualJob, batch_size: int) -> Outcome:
    return Outcome(
        width=job.generation.width, height=job.generation.height, seeds=(1,), inference_time=job.device_time,
        queue_time=0.0, batch_size=batch_size, device_time=job.device_time,
    )  # fmt: skip
