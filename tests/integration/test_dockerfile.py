"""What deploy/Dockerfile builds serves, as its user and with a read-only root: in a chroot, without Docker."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import requests

from tests.support.dockerfile_chroot import Chroot
from tests.support.full_mode import needs_full_mode
from tests.support.server import free_port

KEY = "a-key-of-the-tests-0123456789"
START_SECONDS = 120

pytestmark = [
    pytest.mark.alone,
    pytest.mark.slow,
    needs_full_mode,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="a chroot needs root on Linux"),
    pytest.mark.skipif(shutil.which("debootstrap") is None, reason="there is no debootstrap (Debian's package)"),
]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The target `cpu`; TORCH_INDEX_URL is the build argument of that name, as in compose.yaml."""
    return Chroot(
        tmp_path_factory.mktemp("image"), "cpu", TORCH_INDEX_URL=os.environ.get("TORCH_INDEX_URL", ""), EXTRAS="engine"
    )


def command_of(image):
    return json.loads(image.told["ENTRYPOINT"]) + json.loads(image.told["CMD"])


@pytest.mark.timeout(1800)
def test_it_generates_with_a_key_passes_its_health_check_and_ends_when_it_is_told_to(image, tmp_path):
    port = str(free_port())
    process = image.serve(tmp_path, command_of(image), API_KEYS=KEY, MODEL="demo", PORT=port, OFFLINE="1")
    try:
        wait_until_ready(process, port)
        check = json.loads(image.told["HEALTHCHECK"].partition(" CMD ")[2])
        environment = image.environment | {"PORT": port}
        subprocess.run(["chroot", str(image.folder), *check], env=environment, check=True, timeout=60)
        body = {"prompt": "a red circle", "num_inference_steps": 2, "save_to_file": True}
        url = f"http://127.0.0.1:{port}/generate"
        assert requests.post(url, json=body, timeout=60).status_code == 401
        answer = requests.post(url, json=body, headers={"X-API-Key": KEY}, timeout=120)
        assert answer.status_code == 200, answer.text
        assert [file.name for file in (tmp_path / "outputs").iterdir() if file.suffix == ".png"]
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "Traceback" not in said


@pytest.mark.timeout(1800)
def test_it_does_not_start_without_a_key(image, tmp_path):
    process = image.serve(tmp_path, command_of(image), MODEL="demo", PORT=str(free_port()), OFFLINE="1")
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "ALLOW_OPEN=1" in said


def wait_until_ready(process, port):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stdout.read()
        try:
            if requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.2)
    raise AssertionError("It is not ready.")
