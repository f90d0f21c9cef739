"""The worker's side of a store, with a real store process and a filesystem of this machine behind it."""

import contextlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from imageserver.errors import NotFound, ServiceError, StorageUnavailable
from imageserver.outputs.object_store import messages, remote_outputs
from imageserver.outputs.object_store.remote_outputs import RemoteOutputs
from imageserver.protocol.channel import Channel
from imageserver.settings import Settings

STEM = "Qwen-Image-20991120_150405-req1"


@pytest.fixture(scope="module", params=["unix", "tcp"])
def outputs(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    settings = Settings(_env_file=None, output_url=f"local://{folder}/bucket", state_dir=folder / "state")
    outputs = RemoteOutputs(settings, folder / "s" if request.param == "unix" else None)
    outputs.start()
    yield outputs
    outputs.stop()


def test_an_image_comes_back_whole_in_however_many_parts(outputs):
    data = os.urandom(2 * messages.PART_BYTES + 1)
    found = outputs.open_image(outputs.save(data, stem=STEM, extension="png"))
    read = found.beginning
    while len(read) < found.size:
        read += found.read(len(read))
    assert read == data


def test_failures_arrive_as_themselves(outputs):
    with pytest.raises(NotFound):
        outputs.open_image("missing.png")


def test_a_peer_without_the_key_gets_no_answer(outputs, monkeypatch):
    stranger = RemoteOutputs(outputs._settings, None)
    stranger._address = type(outputs._address)(outputs._address.path, outputs._address.port, "wrong")
    with pytest.raises(StorageUnavailable):
        stranger.open_image("missing.png")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_dies_or_hangs_is_replaced(outputs, monkeypatch, number):
    monkeypatch.setattr(remote_outputs, "ANSWER_SECONDS", 0.2)
    name = outputs.save(b"image", stem=STEM, extension="png")
    outputs._process.send_signal(number)
    if number == signal.SIGKILL:
        outputs._process.wait()
    with pytest.raises(StorageUnavailable, match="started again"):
        outputs.open_image(name)
    outputs.maintain()
    assert "started again" in outputs.obstacle
    outputs.start()
    monkeypatch.undo()
    assert outputs.open_image(name).beginning == b"image"
    outputs.maintain()
    assert outputs.obstacle == ""


def test_questions_asked_while_a_process_starts_do_not_end_it(outputs):
    started = Event()

    def ask():
        while not started.is_set():
            with contextlib.suppress(ServiceError):
                outputs.open_image("missing.png")

    outputs._process.kill()
    outputs._process.wait()
    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        try:
            outputs.start()
        finally:
            started.set()
    assert [each.exception() for each in asking] == [None, None]
    process = outputs._process
    outputs.start()
    assert outputs._process is process


def test_a_late_question_to_a_process_that_is_gone_does_not_end_its_successor(outputs, monkeypatch):
    class ReplacedMeanwhile(Channel):
        def receive(self):
            outputs._process.kill()
            outputs._process.wait()
            outputs.start()
            raise EOFError

    with monkeypatch.context() as patch:
        patch.setattr(remote_outputs, "Channel", ReplacedMeanwhile)
        with pytest.raises(StorageUnavailable):
            outputs.open_image("missing.png")
    process = outputs._process
    outputs.start()
    assert outputs._process is process


def test_the_process_ends_with_its_worker(tmp_path):
    settings = Settings(_env_file=None, output_url=f"local://{tmp_path}/bucket", state_dir=tmp_path)
    outputs = RemoteOutputs(settings, None)
    outputs.start()
    outputs._process.stdin.close()
    try:
        assert outputs._process.wait(10) == 0
    finally:
        outputs.stop()


def test_no_key_of_a_client_reaches_the_process():
    assert not remote_outputs.TRAVELLING & {"api_keys", "api_keys_file", "webhook_secret", "cluster_token"}


def test_an_image_is_deleted_in_the_store(outputs):
    name = outputs.save(b"image", stem=f"{STEM}-deleted", extension="png")
    outputs.delete(name)
    outputs.delete(name)
    with pytest.raises(NotFound):
        outputs.open_image(name)


def test_images_older_than_the_limit_of_a_store_are_missing_without_a_question(outputs):
    outputs.start()
    young, old = f"{STEM}.png", "Qwen-Image-20200101_000000-req1.png"
    assert outputs.missing([young, old]) == [old]
