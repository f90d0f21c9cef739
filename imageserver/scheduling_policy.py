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

import math
from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain

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
        ranks = {name: rank for rank, name in enumerate(self.order({claim.credential for claim in claims}))}
        return sorted(claims, key=lambda claim: (ranks[claim.credential], *_rank(claim, now)))

    def order(self, credentials: set[str]) -> list[str]:
        """Return the credentials that want something in the order of their turns."""
        self._forget_all_but(credentials)
        if credentials:
            self._next()
        return list(self._deficits)

    def simulate(self, claims: Sequence[Claim], now: float) -> Iterator[Claim]:
        """Yield the claims in the order in which they end if each is served to its end and charged for it."""
        waiting: dict[str, list[Claim]] = {}
        for claim in claims:
            waiting.setdefault(claim.credential, []).append(claim)
        self._forget_all_but(set(waiting))
        # Inside a credential the order is fixed; only the credential that is served next changes.
        for own in waiting.values():
            own.sort(key=lambda claim: _rank(claim, now), reverse=True)
        while len(waiting) > 1:
            credential = self._next()
            first = waiting[credential].pop()
            yield first
            self.charge(credential, first.remaining)
            if not waiting[credential]:
                del waiting[credential]
                self._forget_all_but(set(waiting))
        # With one credential left there are no turns.
        for own in waiting.values():
            yield from reversed(own)

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

    def _next(self) -> str:
        """Return the credential whose turn it is: one without seconds left gets a quantum and goes last."""
        while self._deficits[credential := next(iter(self._deficits))] <= 0:
            self._deficits[credential] += QUANTUM_SECONDS
            self._deficits.move_to_end(credential)
        return credential


@dataclass(frozen=True)
class WorkAhead:
    """How many claims are served before one, and their seconds."""

    count: int = 0
    seconds: float = 0.0


def work_ahead(claim: Claim, waiting: Iterable["ClaimOrder"], now: float) -> WorkAhead:
    """Return about what `simulate` would yield before a claim, without looking at each of a long queue.

    Inside its credential that is exact; of each other credential as many seconds go before, its shortest claims first.
    """
    own, works = list[ClaimOrder](), dict[str, list[Sequence[float]]]()
    for order in waiting:
        if order.credential == claim.credential:
            own.append(order)
        else:
            works.setdefault(order.credential, []).append(order.works)
    before = [order.ahead_of(claim, now) for order in own]
    share = sum(each.seconds for each in before)
    # One share for each credential, however many orders its claims come in.
    before += [_shortest(found[0] if len(found) == 1 else sorted(chain(*found)), share) for found in works.values()]
    return WorkAhead(sum(each.count for each in before), sum(each.seconds for each in before))


class ClaimOrder:
    """Claims of one credential, kept in the order in which they are served, whatever the moment."""

    def __init__(self, claims: Iterable[Claim] = ()) -> None:
        self._claims = {claim.owner: claim for claim in claims}
        # The same claims twice: those that are due go by the first list, the others by the second.
        self._by_due = sorted(map(_due_rank, self._claims.values()))
        self._by_rank = sorted(map(_other_rank, self._claims.values()))
        self._works = sorted(claim.remaining for claim in self._claims.values())

    def __len__(self) -> int:
        return len(self._claims)

    def __iter__(self) -> Iterator[Claim]:
        return iter(self._claims.values())

    @property
    def credential(self) -> str:
        return next(iter(self)).credential

    @property
    def works(self) -> Sequence[float]:
        """The remaining work of each claim, the shortest first."""
        return self._works

    def add(self, claim: Claim) -> None:
        self._claims[claim.owner] = claim
        insort(self._works, claim.remaining)
        insort(self._by_due, _due_rank(claim))
        insort(self._by_rank, _other_rank(claim))

    def remove(self, owner: int) -> None:
        claim = self._claims.pop(owner)
        del self._works[bisect_left(self._works, claim.remaining)]
        del self._by_due[bisect_left(self._by_due, _due_rank(claim))]
        del self._by_rank[bisect_left(self._by_rank, _other_rank(claim))]

    def at(self, now: float) -> Iterator[Claim]:
        """Yield the claims in their order at a moment."""
        due = bisect_right(self._by_due, (0, now, math.inf))
        yield from (self._claims[int(owner)] for *_, owner in self._by_due[:due])
        for *_, owner in self._by_rank:
            claim = self._claims[int(owner)]
            if claim.due > now:
                yield claim

    def ahead_of(self, claim: Claim, now: float) -> WorkAhead:
        """Return what goes before a claim of the same credential, which may be one of these."""
        is_due = claim.due <= now
        last = bisect_left(self._by_due, _due_rank(claim) if is_due else (0, now, math.inf))
        works = [self._claims[int(owner)].remaining for *_, owner in self._by_due[:last]]
        if not is_due:
            others = self._by_rank[: bisect_left(self._by_rank, _other_rank(claim))]
            later = (self._claims[int(owner)] for *_, owner in others)
            works += [each.remaining for each in later if each.due > now]
        return WorkAhead(len(works), sum(works))


def by_credential(claims: Iterable[Claim]) -> list[ClaimOrder]:
    """Return the claims in an order for each credential."""
    found: dict[str, list[Claim]] = {}
    for claim in claims:
        found.setdefault(claim.credential, []).append(claim)
    return [ClaimOrder(own) for own in found.values()]


def _shortest(works: Sequence[float], seconds: float) -> WorkAhead:
    """Return how many of these works end within so many seconds, the shortest first, and the seconds used."""
    ends = list(accumulate(works))
    return WorkAhead(bisect_right(ends, seconds), min(seconds, ends[-1]))


def _rank(claim: Claim, now: float) -> tuple[float, ...]:
    """Return the rank of a claim inside its credential."""
    return _due_rank(claim) if claim.due <= now else _other_rank(claim)


def _due_rank(claim: Claim) -> tuple[float, ...]:
    return (0, claim.due, claim.owner)


def _other_rank(claim: Claim) -> tuple[float, ...]:
    return (1, CLASSES[claim.priority], claim.remaining, claim.arrived, claim.owner)
