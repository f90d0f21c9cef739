"""Choose the next to serve: one policy for the jobs in the queue and for the images between two denoiser calls.

1. Deficit round robin between credentials (Shreedhar and Varghese, 1995): each gets its share of the device's seconds,
   however many requests it sends, however old they are and whatever priority they claim.
2. Inside a credential, whoever is past its due moment goes first, the earliest due before the others: this is the
   ageing, and why nobody starves. A job is due `AGEING_SECONDS` times its own work after it arrived, so short jobs
   are due early.
3. Then by priority class.
4. Then the shortest remaining work first.

Bound, where all share one credential: a job ends no later than its due moment plus the work of all jobs that were due
before it plus one turn. Between credentials: of two that both want more, neither gets more seconds than the other plus
two turns.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from imageserver.generation import Priority

CLASSES: dict[Priority, int] = {"interactive": 0, "normal": 1, "background": 2}
# Waiting four times as long as the work itself takes is where a queue begins to feel unfair; background may wait long.
AGEING_SECONDS: dict[Priority, float] = {"interactive": 2.0, "normal": 4.0, "background": 32.0}
# Device seconds that a credential may use before the next one is served.
QUANTUM_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim to be served next; times in seconds, `arrived` on the monotonic clock."""

    owner: int
    credential: str
    priority: Priority
    arrived: float
    work: float
    remaining: float

    @cached_property
    def due(self) -> float:
        """The moment from which the claim goes before all that are not due."""
        return self.arrived + AGEING_SECONDS[self.priority] * self.work


class SchedulingPolicy:
    """Sorts claims, and remembers each credential's device time."""

    def __init__(self) -> None:
        self._deficits: OrderedDict[str, float] = OrderedDict()

    def sort(self, claims: Sequence[Claim], now: float) -> list[Claim]:
        """Return the claims in the order in which they are served."""
        self._forget_all_but({claim.credential for claim in claims})
        ranks = {credential: rank for rank, credential in enumerate(self._round())}
        return sorted(claims, key=lambda claim: (ranks[claim.credential], *_rank(claim, now)))

    def first(self, claims: Sequence[Claim], now: float) -> Claim:
        """Return the first of the claims in that order, without the work of sorting the others."""
        self._forget_all_but({claim.credential for claim in claims})
        credential = self._round()[0]
        return min((claim for claim in claims if claim.credential == credential), key=lambda claim: _rank(claim, now))

    def simulate(self, claims: Sequence[Claim], now: float) -> Iterator[Claim]:
        """Yield the claims in the order in which they end if each is served to its end; each is charged for it."""
        waiting: dict[str, deque[Claim]] = {}
        for claim in self.sort(claims, now):
            waiting.setdefault(claim.credential, deque()).append(claim)
        while waiting:
            # Inside a credential the order is fixed; only the credential that is served next changes.
            credential = self._round()[0]
            first = waiting[credential].popleft()
            yield first
            self.charge(credential, first.remaining)
            if not waiting[credential]:
                del waiting[credential]
                self._forget_all_but(set(waiting))

    def charge(self, credential: str, seconds: float) -> None:
        """Count device time that `credential` has had."""
        if credential in self._deficits:
            self._deficits[credential] -= seconds

    def _forget_all_but(self, credentials: set[str]) -> None:
        """Drop credentials that want nothing, so that silence saves up no time; add new ones."""
        for credential in [known for known in self._deficits if known not in credentials]:
            del self._deficits[credential]
        for credential in sorted(credentials - self._deficits.keys()):
            self._deficits[credential] = QUANTUM_SECONDS

    def _round(self) -> list[str]:
        """Return the credentials in the order of their turns: one without seconds left gets a quantum and goes last."""
        while self._deficits and next(iter(self._deficits.values())) <= 0:
            credential = next(iter(self._deficits))
            self._deficits[credential] += QUANTUM_SECONDS
            self._deficits.move_to_end(credential)
        return list(self._deficits)


def _rank(claim: Claim, now: float) -> tuple[float, ...]:
    """Return the rank of a claim inside its credential."""
    due = claim.due
    if due <= now:
        return (0, due, claim.owner)
    return (1, CLASSES[claim.priority], claim.remaining, claim.arrived, claim.owner)
