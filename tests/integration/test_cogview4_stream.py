"""The stream of CogView4-FastAPI, read as its document tells its clients to: by the line, chunk by chunk."""

import json
import time

import numpy as np
import psutil
import pytest
import requests

from tests.support.images import opened, pixels

MAX_CHUNK_BYTES = 400 * 1024
KEYS = {
    "step", "total_steps", "progress", "image", "timestamp", "is_final", "is_chunked", "chunk_id", "chunk_index",
    "total_chunks", "image_index", "total_images", "seed",
}  # fmt: skip
CLOSE = {"Connection": "close"}


class CogView4Client:
    """What a client of the document does with a stream: finished images by their index, and every frame it saw."""

    def __init__(self):
        self.frames = []
        self.images = []
        self.error = None
        self.done = False
        self._chunks = {}

    def read(self, lines):
        for line in lines:
            if line.startswith("data: "):
                self.receive(line.removeprefix("data: "))
        return self

    def receive(self, text):
        assert not self.done, "nothing follows [DONE]"
        if text == "[DONE]":
            self.done = True
            return
        frame = json.loads(text)
        if "error" in frame:
            self.error = frame
            return
        self.frames.append(frame)
        if not frame["is_chunked"]:
            self.images.append((frame, frame["image"]))
            return
        chunks = self._chunks.setdefault(frame["chunk_id"], {})
        chunks[frame["chunk_index"]] = frame["image"]
        if len(chunks) == frame["total_chunks"]:
            self.images.append((frame, "".join(chunks[index] for index in range(frame["total_chunks"]))))
            del self._chunks[frame["chunk_id"]]

    def shown(self, final, index=0):
        """Return the frames and images of one image: those on the way, or the finished one."""
        return [
            (frame, opened(text))
            for frame, text in self.images
            if (frame["is_final"], frame["image_index"]) == (final, index)
        ]


def ask(server, headers=None, **body):
    return requests.post(
        f"{server.url}/v1/images/generations",
        json={"stream": True, "stream_format": "cogview4", "cache": False, **body},
        stream=True,
        timeout=60,
        headers=CLOSE | (headers or {}),
    )


def streamed(server, **body):
    with ask(server, **body) as answer:
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        return CogView4Client().read(answer.iter_lines(decode_unicode=True))


def test_a_frame_comes_about_every_tenth_of_the_steps_and_the_last_is_the_image(fake_server):
    client = streamed(fake_server, prompt="the usual [mark 1]", seed=7)
    assert client.done
    assert [frame["step"] for frame in client.frames] == [4, 9, 14, 19, 24, 29, 34, 39, 44, 49]
    assert [frame["progress"] for frame in client.frames] == [(frame["step"] + 1) / 50 for frame in client.frames]
    assert [frame["is_final"] for frame in client.frames] == [False] * 9 + [True]
    for frame in client.frames:
        assert frame.keys() == KEYS
        assert frame["total_steps"] == 50
        assert (frame["image_index"], frame["total_images"], frame["seed"]) == (0, 1, 7)
        assert abs(frame["timestamp"] - time.time()) < 60
    assert [frame["timestamp"] for frame in client.frames] == sorted(frame["timestamp"] for frame in client.frames)
    # The fake engine's previews and images are of the seed's colour; an overlay would add others.
    for _, image in client.shown(final=False):
        assert (image.format, image.size, image.getextrema()) == ("JPEG", (1024, 1024), ((7, 7),) * 3)
    [(_, image)] = client.shown(final=True)
    assert (image.format, image.size, image.getextrema()) == ("PNG", (1024, 1024), ((7, 7),) * 3)
    assert "CFG scale: 5" in image.info["parameters"]
    job = fake_server.job_with("[mark 1]")
    # Nothing is appended to the prompt.
    assert (job["dialect"], job["prompt"], job["steps"]) == ("cogview4", "the usual [mark 1]", 50)


def test_fewer_steps_than_ten_have_a_frame_each(fake_server):
    client = streamed(fake_server, prompt="few", num_inference_steps=4, size="64x64")
    assert [frame["step"] for frame in client.frames] == [0, 1, 2, 3]


def test_the_wire_has_nothing_but_lines_of_data(fake_server):
    with ask(fake_server, prompt="wire", num_inference_steps=4, size="64x64") as answer:
        lines = answer.text.splitlines()
    assert lines[1::2] == [""] * 5
    assert all(line.startswith("data: ") for line in lines[::2])
    assert lines[-2] == "data: [DONE]"


def test_large_images_travel_in_chunks_and_are_whole_again(fake_server):
    client = streamed(fake_server, prompt="[noise] in chunks", n=4, seed=100, num_inference_steps=10)
    assert all(len(frame["image"]) <= MAX_CHUNK_BYTES for frame in client.frames)
    ids = set()
    for index in range(4):
        assert len(client.shown(final=False, index=index)) == 9
        [(frame, image)] = client.shown(final=True, index=index)
        assert frame["seed"] == 100 + index
        assert (image.size, image.format) == ((1024, 1024), "PNG")
        assert len(np.unique(np.asarray(image))) == 256
        chunks = [f for f in client.frames if f["is_final"] and f["image_index"] == index]
        # 3 MiB of noise are 4 MiB of base64.
        assert len(chunks) == frame["total_chunks"] >= 10
        assert [chunk["chunk_index"] for chunk in chunks] == list(range(frame["total_chunks"]))
        ids |= {chunk["chunk_id"] for chunk in chunks}
    assert len(ids) == 4
    assert client.done


def test_images_in_chunks_are_those_that_others_are_answered_with(fake_server):
    fields = {"prompt": "[noise] twice", "n": 2, "seed": 5, "num_inference_steps": 10, "true_cfg_scale": 4.0}
    client = streamed(fake_server, **fields)
    plain = requests.post(
        f"{fake_server.url}/v1/images/generations", json=fields | {"size": "1024x1024"}, timeout=60, headers=CLOSE
    ).json()
    for index in range(2):
        [(_, image)] = client.shown(final=True, index=index)
        assert np.array_equal(np.asarray(image), np.asarray(opened(plain["data"][index]["b64_json"])))


@pytest.mark.parametrize(("output_format", "kind"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_finished_images_have_the_format_asked_for(fake_server, output_format, kind):
    client = streamed(fake_server, prompt="formats", output_format=output_format, size="64x64", num_inference_steps=4)
    assert {image.format for _, image in client.shown(final=False)} == {"JPEG"}
    assert [image.format for _, image in client.shown(final=True)] == [kind]


def test_a_seed_that_was_generated_is_told_and_generates_the_same_again(fake_server):
    first = streamed(fake_server, prompt="generated [noise]", size="64x64", num_inference_steps=2)
    seed = first.frames[-1]["seed"]
    again = streamed(fake_server, prompt="generated [noise]", size="64x64", num_inference_steps=2, seed=seed)
    # The files differ in the seconds that they tell.
    assert np.array_equal(pixels(first.frames[-1]["image"]), pixels(again.frames[-1]["image"]))
    other = streamed(fake_server, prompt="generated [noise]", size="64x64", num_inference_steps=2)
    assert other.frames[-1]["seed"] != seed


def test_an_image_from_the_cache_is_one_frame(fake_server):
    body = {"prompt": "a cached stream", "seed": 1, "size": "64x64", "cache": True}
    first, second = streamed(fake_server, **body), streamed(fake_server, **body)
    assert len(first.frames) == 10
    [frame] = second.frames
    assert frame["image"] == first.frames[-1]["image"]
    assert (frame["is_final"], frame["step"], frame["progress"]) == (True, 49, 1.0)


def test_parameters_that_change_nothing_are_warnings(fake_server):
    body = {"prompt": "warned", "size": "64x64", "negative_prompt": None, "response_format": "b64_json", "style": "x"}
    with ask(fake_server, **body, sampler="magic") as answer:
        assert answer.headers["X-Warnings"] == "'sampler' is not a parameter and was ignored."
        assert int(answer.headers["X-Request-Id"]) > 0
        assert CogView4Client().read(answer.iter_lines(decode_unicode=True)).done


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({}, 400, "Prompt is required"),
        ({"prompt": ""}, 400, "Prompt is required"),
        ({"prompt": "x", "size": "huge"}, 422, "size"),
        ({"prompt": "x", "size": "9999x9999"}, 422, "size"),
        ({"prompt": "x", "n": 11}, 422, "n is 11"),
        ({"prompt": "x", "num_inference_steps": 151}, 422, "num_inference_steps"),
        ({"prompt": "x", "guidance_scale": "much"}, 422, "guidance_scale"),
    ],
)
def test_a_refusal_has_a_status_and_the_shape_of_the_documents_errors(fake_server, body, status, word):
    answer = ask(fake_server, **body)
    assert answer.status_code == status
    assert word in answer.json()["error"]
    assert abs(answer.json()["timestamp"] - time.time()) < 60


def test_a_full_queue_is_429_before_the_stream_begins(own_servers):
    server = own_servers(MAX_QUEUE="1")
    busy = server.start_generating("[step=0.05]", num_inference_steps=40)
    server.wait_until_active()
    answer = ask(server, prompt="one too many")
    assert (answer.status_code, answer.json()["code"]) == (429, "queue_full")
    assert int(answer.headers["Retry-After"]) >= 1
    assert busy.result(30).ok


def test_the_patience_of_a_library_is_for_the_next_frame_and_refuses_no_stream(own_server):
    slow = {"num_inference_steps": 20, "size": "64x64"}
    assert own_server.generate("[step=0.05] learn what it takes", **slow).ok
    impatient = {"X-Stainless-Read-Timeout": "0.3"}
    refused = requests.post(
        f"{own_server.url}/v1/images/generations", json=slow | {"prompt": "x"}, timeout=60, headers=CLOSE | impatient
    )
    assert refused.json()["error"]["code"] == "would_time_out"
    with ask(own_server, impatient, prompt="[step=0.05] streamed", **slow) as answer:
        assert CogView4Client().read(answer.iter_lines(decode_unicode=True)).done


def test_a_failure_is_a_frame_and_the_end(fake_server):
    client = streamed(fake_server, prompt="[fail]")
    assert client.frames == []
    assert client.error["error"] == "The fake engine was told to fail."
    assert isinstance(client.error["timestamp"], float)
    assert client.done


def test_a_failure_in_the_middle_comes_after_the_frames_that_were_there(quiet_server):
    with ask(quiet_server, prompt="[step=0.05] ended from outside", num_inference_steps=50) as answer:
        client, lines = CogView4Client(), answer.iter_lines(decode_unicode=True)
        while not client.frames:
            client.read([next(lines)])
        number = quiet_server.job_with("ended from outside")["id"]
        assert requests.delete(f"{quiet_server.url}/v1/jobs/{number}", timeout=10, headers=CLOSE).ok
        client.read(lines)
    assert not any(frame["is_final"] for frame in client.frames)
    assert client.error["code"] == "cancelled"
    assert client.done


def test_after_the_death_of_an_engine_the_frames_begin_again_and_end_well(own_server):
    with ask(own_server, prompt="[step=0.05] survives", num_inference_steps=20, size="64x64") as answer:
        client, lines = CogView4Client(), answer.iter_lines(decode_unicode=True)
        while not client.frames:
            client.read([next(lines)])
        psutil.Process(own_server.health()["engine_pid"]).kill()
        client.read(lines)
    assert [frame["step"] for frame in client.frames[-10:]] == list(range(1, 20, 2))
    assert client.frames[-1]["is_final"]
    assert client.error is None


def test_a_client_that_hangs_up_cancels_its_images_and_no_others(quiet_server):
    body = json.dumps(
        {"stream": True, "stream_format": "cogview4", "prompt": "[step=0.05] given up on", "num_inference_steps": 100}
    ).encode()
    with quiet_server.raw_generation(body, path="/v1/images/generations") as connection:
        seen = b""
        while b'"is_final":false' not in seen:
            seen += connection.recv(65536)
        neighbour = quiet_server.start_generating("a neighbour", seed=9)
        quiet_server.wait_for(lambda: quiet_server.health()["queue_length"] == 1, "the neighbour")
    quiet_server.wait_for(lambda: quiet_server.job_with("given up on")["state"] == "cancelled", "the cancel")
    assert neighbour.result(30).headers["X-Seed"] == "9"


def test_a_slow_client_makes_the_worker_keep_no_more_than_its_images(own_server):
    [worker] = own_server.worker_pids()
    fields = {"prompt": "[noise]", "n": 4, "num_inference_steps": 1}
    streamed(own_server, **fields)
    own_server.wait_until_idle()
    before = psutil.Process(worker).memory_info().rss

    def held():
        with ask(own_server, **fields) as answer:
            lines = answer.iter_lines(chunk_size=65536, decode_unicode=True)
            client = CogView4Client().read([next(lines)])
            # The images are generated and encoded; only the frame that is being sent exists beside them.
            time.sleep(1)
            more = psutil.Process(worker).memory_info().rss - before
            client.read(lines)
        assert client.done
        return more

    # Four PNGs of 3 MiB and the pixels they were made of: 24 MiB were measured. All frames would be 16 MiB more, each
    # time; what a busy machine has not given back yet is gone the next time.
    assert any(held() < 36 * 2**20 for _ in range(3))


def test_where_the_owner_says_so_a_client_that_names_no_format_gets_this_stream(own_servers):
    server = own_servers(STREAM_FORMAT="cogview4")
    assert streamed(server, prompt="x", stream_format=None, num_inference_steps=10).done
    with ask(server, prompt="x", stream_format="openai") as answer:
        assert "event: image_generation.completed" in answer.text
    refused = ask(server, prompt="x", stream_format=None, reference_images="data:,")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "stream_format")


def test_an_unknown_stream_format_is_refused_naming_this_one(fake_server):
    answer = ask(fake_server, prompt="x", stream_format="midjourney")
    assert answer.status_code == 400
    assert "cogview4" in answer.json()["error"]["message"]


def test_two_images_of_the_demo_model_become_what_their_previews_promise(demo_server):
    client = streamed(demo_server, prompt="a red circle on a blue background", n=2, num_inference_steps=10, seed=3)
    for index in range(2):
        assert [frame["step"] for frame, _ in client.shown(final=False, index=index)] == list(range(9))
        [(frame, image)] = client.shown(final=True, index=index)
        assert frame["is_final"]
        # What was shown last promised what came: a red thing on blue.
        _, promised = client.shown(final=False, index=index)[-1]
        assert promised.size == image.size == (1024, 1024)
        difference = np.asarray(promised.resize((16, 16))).astype(int) - np.asarray(image.resize((16, 16)))
        assert np.abs(difference).mean() < 40
    assert client.done


def test_status_tells_what_the_server_is_made_of(fake_server):
    status = fake_server.get("/status").json()
    assert (status["server"], status["status"]) == ("qwen-image-server", "healthy")
    assert status["version"] == fake_server.health()["version"]
    assert status["worker_pool"]["initialized"] is True
    assert status["worker_pool"]["num_workers"] == fake_server.health()["active_workers"]
    assert status["worker_pool"]["architecture"] == fake_server.health()["architecture"]
    assert any("chunks" in feature for feature in status["features"])
    assert (status["model"], status["device"]) == ("fake", "cpu")


def test_status_counts_what_runs_and_what_waits(quiet_server):
    running = quiet_server.start_generating("[step=0.05]", num_inference_steps=20)
    quiet_server.wait_until_active()
    waiting = quiet_server.start_generating("waiting")
    quiet_server.wait_for(lambda: quiet_server.get("/status").json()["queue"]["length"] == 1, "the queue")
    status = quiet_server.get("/status").json()
    assert status["worker_pool"]["active_requests"] == 1
    assert status["queue"]["limit"] == 64
    assert all(answer.result(30).ok for answer in (running, waiting))


def test_status_of_a_server_without_a_model_says_so(own_servers):
    server = own_servers(ready=False, FAKE_LOAD="5")
    status = server.get("/status").json()
    assert (status["status"], status["worker_pool"]["initialized"], status["model"]) == ("loading", False, None)
