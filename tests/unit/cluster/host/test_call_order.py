"""Calls reach the far engine in the order in which they were made, whatever Ray lets overtake."""

from hypothesis import given
from hypothesis import strategies as st

from imageserver.cluster.host.call_order import CallOrder


@given(st.permutations(range(12)))
def test_calls_that_overtake_each_other_are_put_back_into_their_order(arrivals):
    order = CallOrder()
    passed = [frame for number in arrivals for frame in order.receive(number, b"%d" % number)]
    assert passed == [b"%d" % number for number in range(12)]


def test_a_call_is_held_back_until_the_earlier_ones_are_there_and_never_passed_twice():
    order = CallOrder()
    assert order.receive(1, b"cancel") == []
    assert order.receive(0, b"run") == [b"run", b"cancel"]
    assert order.receive(0, b"run") == []
    assert order.receive(2, b"next") == [b"next"]
