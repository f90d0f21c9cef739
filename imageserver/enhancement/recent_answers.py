"""The answers that were written last: asked again, a language model would say the same."""

from collections import OrderedDict
from collections.abc import Hashable

CAPACITY = 256


class RecentAnswers:
    """Up to `capacity` answers; the one that was used longest ago gives way."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._answers: OrderedDict[Hashable, str] = OrderedDict()

    def find(self, question: Hashable) -> str | None:
        """Return the answer to a question, None where it was not asked lately."""
        if question in self._answers:
            self._answers.move_to_end(question)
        return self._answers.get(question)

    def keep(self, question: Hashable, answer: str) -> None:
        self._answers[question] = answer
        if len(self._answers) > self._capacity:
            self._answers.popitem(last=False)
