"""Count what one `POST /generate` touches: files, functions, and calls from one file into another.

    python tools/trace_request.py [PROJECT]

A server with the demo model is started in PROJECT (this one by default) and asked for the same small image several
times, each with another seed; every process of it profiles itself, and the request with the fewest calls is shown, for
timers of the server's own may run beside one. Each process is shown by itself: the worker that speaks HTTP, the
dispatcher and the engine. What counts is the code below `imageserver/`, whatever its modules are
called, so two states of the project can be compared.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUESTS = 6
START_SECONDS = 120.0
# Until every process has seen a signal, and until it has written down what it saw.
SIGNAL_SECONDS = 1.0
BODY = {"prompt": "a red circle on a blue background", "size": "64x64", "num_inference_steps": 2}

# Python imports it at the start of every process. gevent's greenlets share the profile function of their thread.
PROFILER = """
import inspect, json, os, signal, sys, threading
inside, seen, suspended, on = os.sep + "imageserver" + os.sep, [], set(), False
CAN_BE_RESUMED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
def profile(frame, event, _):
    if on and event == "call" and inside in (called := frame.f_code).co_filename and called.co_name[0] != "<":
        if called.co_flags & CAN_BE_RESUMED:
            # Going on is not a call.
            if frame in suspended:
                return
            suspended.add(frame)
        caller = frame.f_back
        while caller is not None and inside not in caller.f_code.co_filename:
            caller = caller.f_back
        origin = caller.f_code.co_filename if caller is not None else ""
        seen.append((origin, called.co_filename, called.co_qualname))
def switch(*_):
    global on
    on = not on
    if on:
        seen.clear()
        suspended.clear()
    else:
        with open(os.path.join(os.environ["TRACE_DIR"], str(os.getpid())), "w") as file:
            json.dump(seen, file)
signal.signal(signal.SIGRTMIN, switch)
threading.setprofile(profile)
sys.setprofile(profile)
"""


# The file of the caller, of the called function, and its name.
Call = tuple[str, str, str]


def trace(project: Path, folder: Path) -> list[list[Call]]:
    """Return the calls of one request, those of each process by themselves."""
    (folder / "sitecustomize.py").write_text(PROFILER)
    (folder / "traces").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "PYTHONPATH": str(folder), "TRACE_DIR": str(folder / "traces"), "MODEL": "demo", "OFFLINE": "1",
        "HOST": "127.0.0.1", "PORT": str(port), "STATE_DIR": str(folder / "state"), "OUTPUT_DIR": str(folder / "tmp"),
        "WORKERS": "1",
    }  # fmt: skip
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-c", "gunicorn_config.py", "qwen_image_server:app"],
        cwd=project,
        env=environment,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(url)
        pids = _processes_with(str(folder))
        _post(url, 1)  # the first request imports and opens what the others find
        traces = [_trace_one(url, seed, pids, folder / "traces") for seed in range(2, 2 + REQUESTS)]
    finally:
        server.terminate()
        server.wait(60)
    return min(traces, key=lambda processes: sum(map(len, processes)))


def report(processes: list[list[Call]]) -> str:
    """Return the numbers, and each file with how many of the calls into it came from other files."""
    lines = []
    for calls in sorted(filter(None, processes), key=lambda calls: min(called for _, called, _ in calls)):
        entered = _entered(calls)
        files = sorted({called for _, called, _ in calls})
        lines += [f"{entered[file]:5} {file.rpartition('/imageserver/')[2]}" for file in files]
        lines.append("      " + _numbers(calls))
    return "\n".join([*lines, _numbers([call for calls in processes for call in calls])])


def _entered(calls: list[Call]) -> Counter[str]:
    return Counter(called for origin, called, _ in calls if origin != called)


def _numbers(calls: list[Call]) -> str:
    functions = {(called, name) for _, called, name in calls}
    files = {called for called, _ in functions}
    return f"{len(files)} files, {len(functions)} functions, {_entered(calls).total()} moves between files"


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            urllib.request.urlopen(url + "/readyz", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _processes_with(text: str) -> list[int]:
    """Return the processes of the server: their environment names the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"TRACE_DIR={text}".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def _post(url: str, seed: int) -> None:
    request = urllib.request.Request(
        url + "/generate", json.dumps(BODY | {"seed": seed}).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request, timeout=60).read()


def _trace_one(url: str, seed: int, pids: list[int], traces: Path) -> list[list[Call]]:
    _switch(pids)
    _post(url, seed)
    _switch(pids)
    processes = []
    for file in traces.iterdir():
        calls: list[list[str]] = json.loads(file.read_text())
        processes.append([(origin, called, name) for origin, called, name in calls])
        file.unlink()
    return processes


def _switch(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGRTMIN)
    time.sleep(SIGNAL_SECONDS)


def main() -> None:
    """Trace a request and print the numbers."""
    parser = argparse.ArgumentParser(description="Count what one POST /generate touches.")
    parser.add_argument("project", nargs="?", type=Path, default=ROOT, help="folder of the project")
    with tempfile.TemporaryDirectory() as folder:
        print(report(trace(parser.parse_args().project.resolve(), Path(folder))))


if __name__ == "__main__":
    main()
