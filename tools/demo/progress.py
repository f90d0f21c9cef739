"""Show how far a training stage is: a progress bar over its minutes, with the latest numbers."""

import sys
import time
from types import TracebackType
from typing import Self

from tqdm import tqdm


class TrainingProgress:
    """A clock over a budget in minutes that can start late (a resumed run) and leave out compilation."""

    def __init__(self, name: str, minutes: float, used: float, quiet: bool = False) -> None:
        self.budget, self.used, self._started = minutes * 60, used, time.monotonic() - used
        self._bar = tqdm(
            total=self.budget,
            initial=min(used, self.budget),
            desc=name,
            unit="s",
            disable=quiet,
            file=sys.stdout,
            mininterval=2.0,
            bar_format="{desc} {percentage:3.0f}%|{bar:20}| {n:.0f}/{total:.0f} s {postfix}",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    @property
    def share(self) -> float:
        """Return how much of the budget is used, 0 to 1 and beyond."""
        return self.used / self.budget if self.budget else 1.0

    def pause(self) -> None:
        """Leave the time since the last tick out (compilation)."""
        self._started = time.monotonic() - self.used

    def elapsed(self) -> float:
        """Return the seconds used so far."""
        return time.monotonic() - self._started

    def tick(self, used: float) -> None:
        """Set the seconds used."""
        self._bar.update(min(used, self.budget) - self._bar.n)
        self.used = used

    def show(self, **numbers: float) -> None:
        """Show the latest numbers beside the bar."""
        self._bar.set_postfix_str(" ".join(f"{name} {value:.4g}" for name, value in numbers.items()))
