"""No minute has more requests than the limit, wherever it begins."""

import pytest

from imageserver.dispatch.quotas.request_rates import MAX_ACCOUNTS, RequestRates
from imageserver.errors import RateLimited


class Rates(RequestRates):
    def __init__(self):
        self.now = 1000.0
        super().__init__(lambda: self.now)

    def refused(self, account="ann", requests=1, limit=3):
        try:
            self.count(account, requests, limit)
        except RateLimited as error:
            return error
        return None


def test_one_more_than_the_limit_waits_until_the_oldest_is_a_minute_old():
    rates = Rates()
    for _ in range(3):
        assert not rates.refused()
        rates.now += 10
    refused = rates.refused()
    assert "3 requests per minute" in refused.sentence
    assert refused.retry_after == pytest.approx(30.0)
    assert not rates.refused("bob")
    rates.now += 30
    assert not rates.refused()
    assert rates.refused()


def test_refused_requests_do_not_count():
    rates = Rates()
    for _ in range(50):
        rates.refused()
    assert rates.use("ann")[0] == 3
    rates.now += 60
    assert not rates.refused()


def test_a_batch_counts_whole_or_not_at_all():
    rates = Rates()
    assert not rates.refused(requests=2)
    rates.now += 20
    assert not rates.refused(requests=1)
    assert rates.refused(requests=2).retry_after == pytest.approx(40.0)
    too_many = rates.refused(requests=4)
    assert too_many.retry_after is None
    assert "counts as 4" in too_many.sentence


def test_without_a_limit_everything_is_counted_and_nothing_refused():
    rates = Rates()
    assert not any(rates.refused(limit=0) for _ in range(100))
    assert rates.use("ann") == (100, 60.0)


def test_addresses_without_end_take_no_memory_without_end():
    rates = Rates()
    for number in range(MAX_ACCOUNTS + 10):
        rates.count(f"address {number}", 1, 3)
    assert len(rates._moments) == MAX_ACCOUNTS
