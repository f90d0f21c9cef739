"""The `.env` of the user's document 003 does what it says, on a model of its kind."""

import pytest

from tests.support import tiny_models
from tests.support.images import opened
from tests.support.server import SMALL_IMAGES, in_background

DOCUMENTED = {
    "DEVICE": "cpu", "TORCH_DTYPE": "float32", "DEFAULT_STEPS": "28", "DEFAULT_GUIDANCE_SCALE": "7.0",
    "DEFAULT_HEIGHT": "64", "DEFAULT_WIDTH": "128", "SCHEDULER_TYPE": "DPMSolver++", "USE_KARRAS_SIGMAS": "true",
    "OFFLINE_MODE": "true", "LOCAL_FILES_ONLY": "true", "MAX_CONCURRENT_REQUESTS": "2", "REQUEST_TIMEOUT": "60",
}  # fmt: skip


@pytest.fixture(scope="module")
def server(servers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("diffusion") / "model"
    tiny_models.tiny_stable_diffusion().save_pretrained(folder)
    # Empty means not set: what the tests usually choose would go before the documented name.
    return servers(engine="real", MODEL="", OFFLINE="", MODEL_ID=str(folder), **DOCUMENTED, **SMALL_IMAGES)


def test_health_tells_what_the_document_s_settings_chose(server):
    told = server.health()["generator_info"]
    assert told["defaults"] == {"steps": 28, "guidance_scale": 7.0, "height": 64, "width": 128}
    assert (told["device"], told["dtype"], told["scheduler"]) == ("cpu", "float32", "DPMSolverMultistepScheduler")
    assert server.get("/info").json()["max_in_flight"] == 2


def test_a_request_that_names_nothing_is_generated_with_them(server):
    answer = server.generate("a cat on a mat, digital art")
    assert opened(answer).size == (128, 64)


def test_of_many_requests_two_are_worked_on_and_the_others_wait_their_turn(server):
    answers = [in_background(server.generate, "a cat", num_inference_steps=40, seed=n) for n in range(6)]
    most = 0
    while not all(answer.done() for answer in answers):
        most = max(most, server.health()["active_tasks"])
    assert [answer.result().status_code for answer in answers] == [200] * 6
    assert most == 2


def test_no_request_may_take_longer_than_the_document_allows(server):
    answer = server.generate("a cat", timeout=61)
    assert (answer.status_code, answer.json()["param"]) == (422, "timeout")
    assert "REQUEST_TIMEOUT" in answer.json()["error"]
