"""Rounds in which every server is asked once: what drifts meanwhile, such as the load of others, meets all alike."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WARM_UPS = 2


@dataclass(frozen=True)
class Participant:
    """A server in the rounds; `ask` returns the seconds of the request of a round, `every` how rarely it is asked."""

    name: str
    ask: Callable[[int], float]
    every: int = 1


def in_rounds(participants: Sequence[Participant], rounds: int, seed: int = 1) -> dict[str, list[float]]:
    """Return the seconds of each participant's requests; the first rounds, with negative numbers, are not among them.

    The order is new in every round, so that none is always asked after the same one: an answer leaves work behind,
    such as traces to be sent.
    """
    chance = random.Random(seed)
    seconds: dict[str, list[float]] = {each.name: [] for each in participants}
    for number in range(-WARM_UPS, rounds):
        asked = [each for each in participants if number < 0 or number % each.every == 0]
        chance.shuffle(asked)
        for each in asked:
            taken = each.ask(number)
            if number >= 0:
                seconds[each.name].append(taken)
    return seconds
