"""How many webhooks may be under way at a time, of everybody, of one key, and to one host.

A receiver that never answers holds each of its attempts for fifteen seconds; those of others are sent beside them.
"""

from collections import Counter

from imageserver.outputs.webhook_store import DueWebhook

MAX_CONCURRENT = 128
MAX_OF_A_KEY = 32
MAX_TO_A_HOST = 4


class WebhookShares:
    """Counts the webhooks under way."""

    def __init__(self) -> None:
        self._keys: Counter[str] = Counter()
        self._hosts: Counter[tuple[str, str]] = Counter()

    @property
    def are_all_taken(self) -> bool:
        return self._hosts.total() >= MAX_CONCURRENT

    def acquire(self, due: DueWebhook) -> bool:
        """Count a webhook as under way, and return whether it may be sent now.

        A host's share is that of one key: nobody can use up a receiver that others use too. Without keys everybody is
        one client, and only the hosts have shares.
        """
        host = (due.credential, due.host)
        is_over = self._hosts[host] >= MAX_TO_A_HOST or (due.credential and self._keys[due.credential] >= MAX_OF_A_KEY)
        if is_over or self.are_all_taken:
            return False
        self._hosts[host] += 1
        self._keys[due.credential] += 1
        return True

    def release(self, due: DueWebhook) -> None:
        self._hosts[due.credential, due.host] -= 1
        self._keys[due.credential] -= 1
        # Without what is zero: hosts come and go.
        self._hosts, self._keys = +self._hosts, +self._keys
