"""How fast a running job is, by the time between its steps: what was expected of it is corrected while it runs."""

from dataclasses import dataclass

# The expectation counts as much as so many steps.
EXPECTATION_STEPS = 2.0
# Of the sums, with every step: the last ten steps count, for the pace changes when others begin or end beside the job.
DECAY = 0.9


@dataclass
class MeasuredPace:
    """The device seconds of a job's last steps; the first step, which the text encoder delays, is not counted."""

    total: int = 1
    last: int | None = None
    steps: float = 0.0
    seconds: float = 0.0

    def record(self, step: int, total: int, seconds: float) -> None:
        """Record that `step` of `total` steps are done, `seconds` after the device reported a step of any job."""
        if self.last is not None and step > self.last:
            self.steps = self.steps * DECAY + step - self.last
            self.seconds = self.seconds * DECAY + seconds
        self.last, self.total = step, total

    def work(self, expected: float) -> float:
        """Return the device seconds of all steps at this pace; `expected` is what was expected before they began."""
        measured = self.total * self.seconds
        return (EXPECTATION_STEPS * expected + measured) / (EXPECTATION_STEPS + self.steps)
