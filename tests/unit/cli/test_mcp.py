"""The relay between stdin and a server answers every request, also where there is no server."""

import io
import json

from imageserver.cli.mcp import Relay

NOWHERE = "http://127.0.0.1:9"


def answers_to(*lines: str) -> list[dict[str, object]]:
    output = io.StringIO()
    Relay(NOWHERE, "", output).follow(lines)
    return [json.loads(line) for line in output.getvalue().splitlines()]


def test_a_request_without_a_server_is_answered_with_a_sentence():
    [answer] = answers_to('{"jsonrpc": "2.0", "id": 3, "method": "tools/list"}\n')
    assert answer["id"] == 3
    assert answer["error"]["message"] == f"The image server at {NOWHERE} cannot be used: nothing answers there."


def test_notifications_and_empty_lines_are_not_answered():
    cancelled = '{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}\n'
    assert answers_to('{"jsonrpc": "2.0", "method": "notifications/initialized"}\n', cancelled, "\n") == []


def test_an_id_that_is_no_id_does_not_stop_the_relay():
    assert len(answers_to('{"id": [], "method": "ping"}\n', '{"id": "b", "method": "ping"}\n')) == 1


def test_a_line_that_is_no_message_is_answered_with_an_error():
    assert [answer["error"]["code"] for answer in answers_to("hello\n", "[]\n")] == [-32000, -32000]
