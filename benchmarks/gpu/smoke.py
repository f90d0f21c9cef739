"""The whole server with the demo model on the device: images, eight clients, a cancel, short memory, a killed engine.

Uses the servers and clients of `benchmarks`; `--tiny` generates smaller images.
"""

import argparse
import dataclasses
import http.client
import io
import json
import os
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image

from benchmarks.clients import LoadClient, run_all
from benchmarks.conditions import Conditions
from benchmarks.gpu.figures import say
from benchmarks.servers import OURS
from benchmarks.servers.process import ServerProcess
from benchmarks.trace import read_trace
from benchmarks.traffic import RequestSource

STAGE = "smoke"
DEMO = Path("imageserver/demo_model").resolve()
CLIENTS = 8
# What the cramped engine may use of the card, and the sides that are tried there.
CRAMPED_GIB = "1.0"
CRAMPED_SIDES = (1024, 2048, 3072, 4096)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true")
    chosen = parser.parse_args()
    side, steps = (128, 4) if chosen.tiny else (512, 8)
    with tempfile.TemporaryDirectory(prefix="check-") as folder:
        server = start(Path(folder), "plain", {"MAX_PIXELS": str(512 * 512)} if chosen.tiny else {})
        try:
            generate(server, side, steps)
            generate_together(server, side, steps)
            leave(server, side)
            kill_the_engine(server, side)
        finally:
            server.stop()
        say(STAGE, "memory of the card after the server's end", card_memory(), "MiB")
        cramped = {
            "ENGINE_MODULE": "benchmarks.gpu.cramped_engine",
            "CHECK_MEMORY_GIB": CRAMPED_GIB,
            "MAX_PIXELS": str(4096 * 4096),
        }
        if chosen.tiny:
            cramped["MAX_PIXELS"] = str(256 * 256)
        server = start(Path(folder), "cramped", cramped)
        try:
            run_out_of_memory(server, (128, 256) if chosen.tiny else CRAMPED_SIDES, side)
        finally:
            server.stop()


def start(folder: Path, name: str, settings: dict[str, str]) -> ServerProcess:
    """Return a running server and say what it says of itself."""
    kind = dataclasses.replace(OURS, environment=OURS.environment | settings)
    folder = folder / name
    folder.mkdir()
    began = time.monotonic()
    server = ServerProcess(kind, Conditions("demo", DEMO, trace=folder / "trace.jsonl"), folder)
    server.wait_until_ready()
    say(STAGE, f"start of the {name} server", time.monotonic() - began, "s")
    health = get(server, "/health")
    info = get(server, "/info")
    told = {key: info.get(key, health.get(key)) for key in ("device", "gpu", "cuda_version", "dtype")}
    say(STAGE, "device as told", told.get("device"), **{key: value for key, value in told.items() if key != "device"})
    return server


def generate(server: ServerProcess, side: int, steps: int) -> None:
    """Generate alone, and the same seed twice."""
    client, image_requests = LoadClient(server.port), RequestSource(seed=11)
    answers = [client.ask(image_requests.next((steps,), side, 4.0)) for _ in range(4)]
    say(
        STAGE,
        f"one image {side}, {steps} steps with guidance",
        statistics.median(a.latency for a in answers[1:]),
        "s",
        first=round(answers[0].latency, 3),
        all_images=all(a.is_image for a in answers),
    )
    body = image_requests.next((steps,), side).body() | {"cache": False, "add_overlay": False}
    exact = [pixels_of(server, body | {"deterministic": True}) for _ in range(2)]
    default = [pixels_of(server, body) for _ in range(2)]
    say(STAGE, "deterministic: the same pixels twice", bool((exact[0] == exact[1]).all()))
    say(STAGE, "alone, not deterministic: the same pixels twice", bool((default[0] == default[1]).all()))
    say(STAGE, "largest difference of the two", int(abs(exact[0] - default[0]).max()), "of 255")


def generate_together(server: ServerProcess, side: int, steps: int) -> None:
    """Let eight clients ask at once."""
    before = len(forwards(server))
    image_requests = [RequestSource(seed=20 + index).next((steps,), side) for index in range(CLIENTS)]
    answers: list[Any] = []
    began = time.monotonic()
    run_all(
        [
            lambda image_request=image_request: answers.append(LoadClient(server.port).ask(image_request))
            for image_request in image_requests
        ]
    )
    spans = forwards(server)[before:]
    say(
        STAGE,
        f"{CLIENTS} clients at once",
        time.monotonic() - began,
        "s",
        images=sum(a.is_image for a in answers),
        largest_batch=max(len(span.calls) for span in spans),
        forwards=len(spans),
    )


def leave(server: ServerProcess, side: int) -> None:
    """Hang up in the middle of a long image; then the next one must not wait for it."""
    client = LoadClient(server.port)
    before = len(forwards(server))
    asking = threading.Thread(target=client.ask, args=(RequestSource(seed=31).next((150,), side),))
    asking.start()
    wait_until(lambda: len(forwards(server)) >= before + 3)
    client.hang_up()
    left = time.monotonic()
    asking.join()
    answer = LoadClient(server.port).ask(RequestSource(seed=32).next((4,), side))
    last = [span for span in forwards(server) if span.began < left][-1]
    say(
        STAGE,
        "image after a cancel",
        answer.latency,
        "s",
        is_image=answer.is_image,
        forward=round(last.ended - last.began, 4),
        forwards_of_150=len(forwards(server)) - before - 4,
    )


def kill_the_engine(server: ServerProcess, side: int) -> None:
    """Kill the engine while it generates: the image must come all the same, from a new one."""
    health = get(server, "/health")
    pid = health["engine_pid"]
    before = len(forwards(server))
    answers: list[Any] = []
    image_request = RequestSource(seed=41).next((60,), side)
    asking = threading.Thread(target=lambda: answers.append(LoadClient(server.port).ask(image_request)))
    asking.start()
    wait_until(lambda: len(forwards(server)) >= before + 2)
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    asking.join()
    after = get(server, "/health")
    say(
        STAGE,
        "image of a killed engine, after the kill",
        time.monotonic() - killed,
        "s",
        is_image=answers[0].is_image,
        restarts=after["engine_restarts"],
        new_engine=after["engine_pid"] != pid,
        gpu=after["gpu"],
    )


def run_out_of_memory(server: ServerProcess, sides: tuple[int, ...], small: int) -> None:
    """Ask for larger and larger images until one does not fit; a small one must be generated after it."""
    for side in sides:
        body = RequestSource(seed=50 + side).next((1,), side).body()
        began = time.monotonic()
        status, headers, content = post(server, body)
        say(
            STAGE,
            f"{side} with {CRAMPED_GIB} GiB",
            status,
            "HTTP",
            seconds=round(time.monotonic() - began, 2),
            warnings=headers.get("X-Warnings", ""),
            answer="" if status == 200 else content[:300].decode(errors="replace"),
        )
        if status != 200:
            break
    together: list[Any] = []
    image_requests = [RequestSource(seed=70 + index).next((4,), small) for index in range(CLIENTS)]
    run_all(
        [
            lambda image_request=image_request: together.append(LoadClient(server.port).ask(image_request))
            for image_request in image_requests
        ]
    )
    health = get(server, "/health")
    say(
        STAGE,
        f"{CLIENTS} small images after it",
        sum(a.is_image for a in together),
        "images",
        restarts=health["engine_restarts"],
    )
    log = (server.trace.parent / "server.log").read_text(errors="replace") if server.trace else ""
    told = [line[:200] for line in log.splitlines() if "forward of" in line or "in tiles" in line or "lost" in line]
    say(STAGE, "what the log tells of it", told[-4:])


def forwards(server: ServerProcess) -> list[Any]:
    """Return the forwards so far."""
    assert server.trace is not None
    return [span for span in read_trace(server.trace) if span.kind == "forward"]


def post(server: ServerProcess, body: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and content of one /generate."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.request("POST", "/generate", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, dict(response.headers), response.read()


def pixels_of(server: ServerProcess, body: dict[str, Any]) -> Any:
    """Return the pixels that a request is answered with; the PNG beside them tells of time too."""
    return np.asarray(Image.open(io.BytesIO(post(server, body)[2])).convert("RGB")).astype(int)


def get(server: ServerProcess, path: str) -> dict[str, Any]:
    """Return an answer of the server."""
    found: dict[str, Any] = requests.get(f"http://127.0.0.1:{server.port}{path}", timeout=10).json()
    return found


def card_memory() -> float:
    """Return the MiB in use on the card by anybody; -1 without nvidia-smi."""
    try:
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        return float(subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return -1.0


def wait_until(condition: Any, patience: float = 60.0) -> None:
    """Wait until a condition holds; raises RuntimeError when it does not in time."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("What the check waited for did not happen.")
        time.sleep(0.01)


if __name__ == "__main__":
    main()
