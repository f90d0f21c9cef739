"""LoRAs of a hub on another machine, with real Ray on loopback addresses."""

import sys

import pytest

from tests.support import tiny_models
from tests.support.fake_hub import FakeHub
from tests.support.full_mode import needs_full_mode
from tests.support.ray_cluster import ADDRESSES, Cluster, JoinedMachine
from tests.support.server import SMALL_IMAGES
from tests.support.tiny_loras import save_lora

pytestmark = [
    pytest.mark.alone,
    pytest.mark.slow,
    pytest.mark.timeout(400),
    needs_full_mode,
    pytest.mark.skipif(sys.platform != "linux", reason="Ray nodes are started on Linux"),
]


def test_a_lora_of_a_hub_is_fetched_by_an_engine_on_another_machine(tmp_path):
    model = tiny_models.save_tiny_qwen_image(tmp_path / "model")
    save_lora(tmp_path / "hub", "ink", tiny_models.tiny_qwen_image(), seed=8)
    real = {"ENGINE_MODULE": "imageserver.engine", "OFFLINE": "0", "OMP_NUM_THREADS": "1"}
    wanted = {"size": "64x64", "num_inference_steps": 3, "seed": 5}
    shared, own = tmp_path / "shared", tmp_path / "own"
    with FakeHub(tmp_path / "hub", "anna/styles").open() as hub:
        cluster = Cluster(
            tmp_path, machines=0, **real, **SMALL_IMAGES, HF_ENDPOINT=hub, MODEL_SOURCE="huggingface", NO_PROXY="*",
            MODEL=str(model), MODEL_LOADING="any", LORA_DIR=str(shared), STEP_TIMEOUT="120",
        )  # fmt: skip
        try:
            cluster.machines = [JoinedMachine(tmp_path, ADDRESSES[0], cluster.head, **real, MODELS_DIR=str(own))]
            cluster.server.wait_for(lambda: cluster.free_seats() == 1, "its engine", 180)
            plain = cluster.server.generate("a cat", **wanted)
            changed = cluster.server.generate("a cat", loras=[{"name": "anna/styles:ink"}], **wanted)
            assert (plain.status_code, changed.status_code) == (200, 200), changed.text
            assert changed.content != plain.content
            assert (shared / "anna/styles/ink.safetensors").is_file()
            assert list(own.rglob("ink.safetensors")), "it was downloaded by the other machine"
        finally:
            cluster.stop()
