"""Count what clients had to wait for, or do without, because COMPILE=1 had not compiled it before they came."""

import contextlib
import logging
from collections.abc import Callable, Iterator

logger = logging.getLogger(__name__)

# torch's own name for a variant that it does not compile, because there are too many already.
REFUSED = "Dynamo recompile limit exceeded"


def compiled_graphs() -> int:
    """Return how many graphs torch.compile has made in this process."""
    # Imported here: dynamo takes a second to import, which only COMPILE=1 needs.
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def refused_variants() -> int:
    """Return how often a piece of code has reached the limit; its other variants are computed eagerly since."""
    from torch._dynamo.utils import counters

    return sum(count for reason, count in counters["unimplemented"].items() if REFUSED in reason)


class Recompilations:
    """Counts the graphs that were compiled while models served, and what was refused at any time."""

    def __init__(self, rehearsed: Callable[[], int]) -> None:
        """`rehearsed` returns how many graphs were compiled for LoRAs, which no step waited for."""
        self._rehearsed = rehearsed
        self._expected = self._unrehearsed()
        self._refused_before = refused_variants()
        self._is_logged = False

    def count(self) -> int:
        """Return their number, which never falls; that there are refused ones is logged once."""
        refused = refused_variants() - self._refused_before
        if refused and not self._is_logged:
            self._is_logged = True
            logger.warning(
                "COMPILE=1: torch.compile has reached its limit of variants; what is new is computed eagerly, and "
                "slower, until this engine ends."
            )
        return self._unrehearsed() - self._expected + refused

    @contextlib.contextmanager
    def expected(self) -> Iterator[None]:
        """Leave out what is compiled inside, before a model serves, and the graphs of LoRAs that are unloaded."""
        before = self._unrehearsed()
        try:
            yield
        finally:
            self._expected += self._unrehearsed() - before

    def _unrehearsed(self) -> int:
        return compiled_graphs() - self._rehearsed()
