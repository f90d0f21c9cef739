"""The relay between stdin and a server answers every request, also where there is no server."""

import contextlib
import io
import json
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from imageserver.cli.mcp import MAX_CALLS, READ_SECONDS, Relay
from imageserver.settings import Settings

NOWHERE = "http://127.0.0.1:9"
PING = '{"jsonrpc": "2.0", "id": 3, "method": "ping"}'


def answers_to(lines: Iterable[str], url: str = NOWHERE) -> list[dict[str, object]]:
    output = io.StringIO()
    Relay(url, "", output).follow(lines)
    return [json.loads(line) for line in output.getvalue().splitlines()]


@contextlib.contextmanager
def serving(post, delete=None) -> Iterator[str]:
    """Serve what `post` and `delete` answer to a handler; yield the address."""

    class ScriptedHandler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            post(self)

        def do_DELETE(self):
            delete(self)

        def log_message(self, *_):
            pass

        def head(self, status=200, **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), ScriptedHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_request_without_a_server_is_answered_with_a_sentence():
    [answer] = answers_to(['{"jsonrpc": "2.0", "id": 3, "method": "tools/list"}\n'])
    assert answer["id"] == 3
    assert answer["error"]["message"] == f"The image server at {NOWHERE} cannot be used: nothing answers there."


def test_notifications_and_empty_lines_are_not_answered():
    cancelled = '{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}\n'
    assert answers_to(['{"jsonrpc": "2.0", "method": "notifications/initialized"}\n', cancelled, "\n"]) == []


def test_an_id_that_is_no_id_does_not_stop_the_relay():
    assert len(answers_to(['{"id": [], "method": "ping"}\n', '{"id": "b", "method": "ping"}\n'])) == 1


def test_a_line_that_is_no_message_is_answered_with_an_error():
    assert [answer["error"]["code"] for answer in answers_to(["hello\n", "[]\n"])] == [-32000, -32000]


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("application/json", b"[]", "it sent something that is not a message"),
        ("application/json", b"null", "it sent something that is not a message"),
        ("text/event-stream", b"data: 1\n\n", "it sent something that is not a message"),
        ("text/event-stream", b": heartbeat\n\n", "it ended its answer too early"),
        ("text/event-stream", b'data: {"method": "notifications/progress"}\n\n', "it ended its answer too early"),
    ],
)
def test_a_request_is_answered_also_where_the_server_answers_nothing_that_counts(kind, body, reason):
    def post(handler):
        handler.head(Content_Type=kind)
        handler.wfile.write(body)

    with serving(post) as url:
        *_, answer = answers_to([PING], url=url)
    assert answer["id"] == 3
    assert answer["error"]["message"].endswith(f"cannot be used: {reason}.")


def test_an_answer_of_the_client_is_passed_on_and_not_answered():
    with serving(lambda handler: handler.head(202)) as url:
        assert answers_to(['{"jsonrpc": "2.0", "id": 3, "result": {}}'], url=url) == []


def test_a_call_is_cancelled_though_as_many_run_as_may_and_before_it_was_sent():
    cancelled = {str(number): threading.Event() for number in range(MAX_CALLS + 1)}
    all_run = threading.Barrier(MAX_CALLS + 1)

    def post(handler):
        number = str(handler.body["id"])
        handler.head(Content_Type="text/event-stream", X_Request_Id=number)
        if int(number) < MAX_CALLS:
            all_run.wait(10)
        result = {"jsonrpc": "2.0", "id": int(number), "result": {"cancelled": cancelled[number].wait(5)}}
        handler.wfile.write(f"data: {json.dumps(result)}\n\n".encode())

    def delete(handler):
        cancelled[handler.path.rpartition("/")[2]].set()
        handler.head(204)

    def lines():
        for number in range(MAX_CALLS + 1):
            yield json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call"})
        all_run.wait(10)
        # The last call waits for a thread; its own cancellation comes first.
        for number in reversed(range(MAX_CALLS + 1)):
            params = {"requestId": number}
            yield json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})

    with serving(post, delete) as url:
        answers = answers_to(lines(), url=url)
    assert sorted(answer["id"] for answer in answers) == list(range(MAX_CALLS + 1))
    assert all(answer["result"]["cancelled"] for answer in answers)


def test_the_relay_waits_for_a_model_longer_than_the_server_does():
    assert Settings.model_fields["request_timeout"].default < READ_SECONDS
