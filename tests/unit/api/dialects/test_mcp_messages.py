"""The ids in a message come back with every answer, so they are short ones."""

import pytest

from imageserver.api.dialects.mcp.json_rpc import MAX_ID_CHARACTERS, RpcMessage
from imageserver.api.inputs.validation import validated
from imageserver.errors import InvalidParameter

LONGEST = "x" * MAX_ID_CHARACTERS


def message(number, token):
    call = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"_meta": {"progressToken": token}}}
    return validated(RpcMessage, call)


@pytest.mark.parametrize("given", [0, 7, "seven", LONGEST])
def test_an_id_and_a_progress_token_are_taken_as_they_are(given):
    taken = message(given, given)
    assert (taken.id, taken.progress_token) == (given, given)


def test_an_id_that_is_too_long_to_be_repeated_is_refused():
    with pytest.raises(InvalidParameter, match="id"):
        message(LONGEST + "x", 1)


@pytest.mark.parametrize("token", [LONGEST + "x", {"a": 1}, [1]])
def test_a_progress_token_that_cannot_be_repeated_in_every_message_is_refused(token):
    with pytest.raises(InvalidParameter, match="progressToken must be a number or a text of at most 1000"):
        _ = message(1, token).progress_token


def test_no_token_asks_for_no_progress():
    assert message(1, None).progress_token is None
