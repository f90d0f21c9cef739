"""What a store process answers, whatever its store does."""

import socket
import threading

from imageserver.outputs.object_store import __main__ as store_process
from imageserver.outputs.object_store.messages import Refused, Save, decode_answer
from imageserver.protocol.channel import Channel


class FailingKeeper:
    """Fails at everything it is asked."""

    def save(self, *args, **options):
        raise FileNotFoundError("sent meanwhile")


def test_a_question_that_fails_unexpectedly_is_answered_and_logged(caplog):
    here, there = socket.socketpair()
    serving = threading.Thread(target=store_process.serve, args=(there, FailingKeeper(), "key"))
    serving.start()
    channel = Channel(here, decode_answer)
    channel.send(Save(key="key", stem="a", extension="png", size=5), b"image")
    answer, _ = channel.receive()
    serving.join()
    channel.close()
    assert isinstance(answer, Refused)
    assert (answer.code, answer.retry_after) == ("storage_unavailable", 5.0)
    assert "sent meanwhile" not in answer.sentence
    assert "sent meanwhile" in caplog.text


def test_what_is_done_every_few_seconds_goes_on_after_a_failure(monkeypatch, caplog):
    monkeypatch.setattr(store_process, "RETRY_SECONDS", 0.0)
    stop, tries = threading.Event(), []

    def work():
        tries.append(len(tries))
        if len(tries) == 2:
            stop.set()
        raise ValueError("unexpected")

    store_process.repeat(work, stop)
    assert tries == [0, 1]
    assert caplog.text.count("ValueError: unexpected") == 2
