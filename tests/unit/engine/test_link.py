"""An engine without a dispatcher ends with a sentence."""

import pytest

from imageserver.engine.__main__ import Link
from imageserver.protocol.channel import Address


def test_an_engine_whose_dispatcher_died_while_it_started_ends_with_a_sentence_and_no_traceback(tmp_path):
    with pytest.raises(SystemExit, match="The dispatcher is gone"):
        Link(Address(path=str(tmp_path / "nobody"), port=None, key=""))
