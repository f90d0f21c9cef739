"""What a far seat sends arrives unchanged, and only under the lease that the near side holds."""

from hypothesis import given
from hypothesis import strategies as st

from imageserver.cluster.parcels import KINDS, Item, read_parcel, write_parcel

ITEMS = st.lists(st.builds(Item, kind=st.sampled_from(KINDS), content=st.binary(max_size=100)), max_size=5)


@given(st.integers(0, 2**63), ITEMS)
def test_every_item_arrives_unchanged_and_in_order(lease, items):
    assert list(read_parcel(write_parcel(lease, items), lease)) == items


@given(st.integers(0, 2**63), ITEMS)
def test_words_of_another_lease_are_dropped(lease, items):
    assert list(read_parcel(write_parcel(lease, items), lease + 1)) == []


def test_ray_is_handed_bytes_and_no_object_that_it_would_pickle():
    assert type(write_parcel(1, [Item("frame", memoryview(b"pixels"))])) is bytes
