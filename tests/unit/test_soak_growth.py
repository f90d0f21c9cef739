"""What the soak calls growth: a leak however slow, and neither a warm-up nor waves."""

import math
import sqlite3
from contextlib import closing

import pytest

from tests.support.soak.growth import Sample, Tolerance, growth_of
from tests.support.soak.sizes import Sizes

ALLOWED = Tolerance(0.05, 6)
WARM_UP = 100


def grown(level, *, until=1000):
    """Return the growth of a size by what is done."""
    growth = growth_of([Sample(done, done / 10, level(done)) for done in range(0, until, 5)], WARM_UP)
    assert growth is not None
    return growth


@pytest.mark.parametrize(
    "level",
    [
        pytest.param(lambda done: 100 + done / 40, id="a slow leak"),
        pytest.param(lambda done: 100 if done < 900 else 120, id="a step near the end"),
        pytest.param(lambda done: 100 + 15 * (done % 50 == 0) + done / 40, id="a leak under peaks"),
    ],
)
def test_a_leak_is_growth(level):
    assert grown(level).exceeds(ALLOWED)


@pytest.mark.parametrize(
    "level",
    [
        pytest.param(lambda done: min(done, WARM_UP), id="a warm-up"),
        pytest.param(lambda done: 100 + 15 * math.sin(done), id="waves"),
        pytest.param(lambda done: 100 - done / 20, id="a fall"),
        pytest.param(lambda done: 100 + 60 * (500 < done < 540), id="a peak"),
    ],
)
def test_what_ends_where_it_stood_is_not(level):
    assert not grown(level).exceeds(ALLOWED)


def test_a_process_that_lived_for_a_moment_says_nothing():
    assert growth_of([Sample(done, done, 1.0) for done in range(0, 120, 5)], WARM_UP) is None


def test_databases_are_measured_without_the_logs_beside_them(tmp_path):
    with closing(sqlite3.connect(tmp_path / "state.sqlite")) as database:
        database.execute("CREATE TABLE filled AS SELECT zeroblob(2000000)")
        database.commit()
    (tmp_path / "state.sqlite-wal").write_bytes(bytes(5_000_000))
    found = Sizes(None, {"state": tmp_path}, tmp_path, lambda: 0)._of_files()
    assert 1.9 < found["state", "MiB of SQLite"] < 2
    assert found["state", "MiB of files"] > 6.5
