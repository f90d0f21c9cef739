"""What the log and the cache get of a generation that has ended."""

import json
import logging
from types import SimpleNamespace

import pytest

from imageserver.api.generation import run
from imageserver.api.generation.run import GenerationRequest, PendingGeneration
from imageserver.api.output_options import OutputOptions
from imageserver.api.wsgi.bodies.waiting import WaitingBytes
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.dispatch.client.ticket import Image
from imageserver.generation import ModelInfo, Outcome, StageSeconds
from imageserver.imaging.finishing import FinishedImages
from imageserver.outputs.cache import OutputCache
from imageserver.protocol.messages import Started
from imageserver.settings import Settings
from imageserver.telemetry.logs import configure_logging, current_request
from imageserver.telemetry.metric_registry import MetricRegistry
from tests.support.factories import generation

OUTCOME = Outcome(
    width=64, height=64, seeds=(5,), inference_time=2.0, queue_time=0.25, batch_size=3, vram_peak_mb=812.5,
    unsafe=(False,), stage_seconds=StageSeconds(text=0.5, denoise=1.2, decode=0.3),
)  # fmt: skip


@pytest.fixture
def keep_logging():
    """Leave the log of other tests as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)


def generate(cache, monkeypatch, *, lacks_manifest=False, **fields):
    """Generate an image with a fake engine; whoever repeats the request asks the cache first."""
    monkeypatch.setattr(run, "encode_images", lambda *_: FinishedImages((b"png",), lacks_manifest))
    updates = [Started(job=1, device="cuda:1"), Image(OUTCOME, b"")]
    service = SimpleNamespace(
        client=SimpleNamespace(
            submit=lambda message, source: SimpleNamespace(updates=lambda pause: iter(updates)),
            record_cache_hit=lambda hit: None,
        ),
        info_of=lambda name: ModelInfo(name="demo"), cache=cache, thread_pool=ThreadPool(1), prompt_endpoint=None,
        measurements=MetricRegistry(), tracing=None,
        waiting=WaitingBytes(2**30), settings=SimpleNamespace(enhance_url="", enhance_model=""),
    )  # fmt: skip
    request = GenerationRequest(
        number=1, generation=generation("a red fox", seed=5), output_options=OutputOptions("png", None, None),
        timeout=60.0, **fields,
    )  # fmt: skip
    *_, result = PendingGeneration(service, request).updates()
    return result.origin


@pytest.mark.usefixtures("keep_logging")
def test_its_line_in_json_has_every_documented_field_on_standard_error_and_in_log_file(tmp_path, monkeypatch, capsys):
    file = tmp_path / "logs" / "server.log"
    configure_logging(Settings(_env_file=None, log_format="json", log_file=file))
    token = current_request.set(17)
    generate(OutputCache(tmp_path, max_mb=1), monkeypatch, credential="ann")
    current_request.reset(token)
    [line] = [line for line in file.read_text().splitlines() if '"request_id": 17' in line]
    assert line in capsys.readouterr().err
    event = json.loads(line)
    assert event.pop("timestamp").endswith("+00:00")
    assert event == {
        "level": "INFO", "name": "imageserver.api.generation.run", "request_id": 17,
        "message": "Generated 1 x 64x64 in 2.00 s after 0.25 s in the queue.",
        "prompt": "a red fox", "seed": 5, "model_id": "demo", "latency_ms": 2250, "vram_peak_mb": 812.5,
        "nsfw_detected": False, "key": "ann", "device": "cuda:1", "batch_size": 3, "queue_seconds": 0.25,
        "stage_seconds": {"text": 0.5, "denoise": 1.2, "decode": 0.3, "encode": event["stage_seconds"]["encode"]},
    }  # fmt: skip


@pytest.mark.usefixtures("keep_logging")
def test_the_log_file_that_the_settings_ask_for_is_rotated_at_its_size(tmp_path):
    file = tmp_path / "server.log"
    configure_logging(Settings(_env_file=None, log_file=file, log_file_max_mb=0.01))
    for number in range(300):
        logging.getLogger("imageserver").error("error %d %s", number, "x" * 40)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() >= {"server.log", "server.log.1"}
    assert sum(sizes.values()) <= 2 * 0.01 * 2**20
    assert file.read_text().splitlines()[-1].endswith(f"error 299 {'x' * 40}")


def test_an_image_that_could_not_be_signed_is_not_the_answer_to_the_next_request(tmp_path, monkeypatch):
    cache = OutputCache(tmp_path, max_mb=1)
    assert generate(cache, monkeypatch, lacks_manifest=True) == "miss"
    assert generate(cache, monkeypatch) == "miss"
    assert generate(cache, monkeypatch) == "hit"
    # A client that repeats itself gets what it has got before.
    assert generate(cache, monkeypatch, lacks_manifest=True, idempotency_key="mine") == "hit"
