"""Processes that are killed at random moments, `QIS_KILLS` times: every task that was accepted ends exactly once."""

import contextlib
import os
import random
import signal
import time

import pytest
import requests

from tests.support.full_mode import needs_full_mode
from tests.support.saved_seeds import saved_seeds

ROUNDS = int(os.environ.get("QIS_KILLS", "200"))
MAX_PAUSE_SECONDS = 0.6


@needs_full_mode
@pytest.mark.alone
@pytest.mark.fault(17)
@pytest.mark.timeout(60 + 20 * ROUNDS)
def test_every_accepted_task_ends_once_whatever_is_killed_and_when(own_servers, tmp_path):
    folders = {"STATE_DIR": str(tmp_path / "state"), "OUTPUT_DIR": str(tmp_path / "images")}
    chance, server, accepted, losses = random.Random(7), own_servers(**folders), {}, 0
    for number in range(ROUNDS):
        body = {"prompt": "[step=0.05] a task", "resolution": "64x64", "num_inference_steps": 6, "seed": number + 1}
        with contextlib.suppress(requests.RequestException):
            answer = server.ask("POST", "/submit", json=body, timeout=20)
            if answer.ok:
                accepted[number + 1] = answer.json()["task_id"]
        time.sleep(chance.uniform(0, MAX_PAUSE_SECONDS))
        victim = chance.choice(["worker", "dispatcher", "engine", "everything"])
        losses += victim in ("worker", "everything")
        if victim == "everything":
            # More than once: one that is about to die may have started another.
            while server.leftovers(timeout=0):
                pass
            server.process.wait()
            server = own_servers(**folders)
        else:
            kill(server, victim)
            server.wait_until_ready()
    states = {seed: wait_for_end(server, task) for seed, task in accepted.items()}
    assert set(states.values()) <= {"completed", "failed"}
    saved = saved_seeds(tmp_path / "images")
    assert {seed for seed, state in states.items() if state == "completed"} <= saved.keys()
    # What is killed between the image and its entry leaves an image that no task names.
    assert sum(count - 1 for count in saved.values()) <= losses
    assert list(states.values()).count("completed") > ROUNDS / 4


def kill(server, victim):
    """Kill a process of the server, if it lives."""
    health = server.health()
    pids = {"worker": server.worker_pids()[0], **{name: health[f"{name}_pid"] for name in ("dispatcher", "engine")}}
    with contextlib.suppress(ProcessLookupError):
        if pids[victim]:
            os.kill(pids[victim], signal.SIGKILL)


def wait_for_end(server, task):
    """Return the state in which a task ends."""

    def state():
        answer = server.get(f"/status/{task}")
        assert answer.status_code in (200, 503), answer.text
        return answer.json().get("status")

    server.wait_for(lambda: state() in ("completed", "failed"), "the end of a task", 60)
    return state()
