"""Measure the project on this machine's device: `python -m benchmarks.gpu [--tiny] [STAGE...]`; see README.md.

Every stage is a process of its own with its own limit. One that fails shows the end of its log and lets the others run.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu.figures import PREFIX, line_of

HERE = Path(__file__).resolve().parent
WHEELS = HERE / "wheels"
STEPS = ("step_times", "batches", "syncs", "decoding", "attention", "graphs", "memory")
TRAFFIC = ("clients", "guided_clients", "interruption", "decode_charge", "mixed")
# How long a stage may take to stop its own servers after SIGINT.
STOP_SECONDS = 25
MAX_LOG_LINES = 25


@dataclass(frozen=True)
class GpuStage:
    """One process; `limit` is in seconds, `tiny` says whether the module takes --tiny."""

    limit: int
    module: str
    arguments: tuple[str, ...] = ()
    tiny: bool = True


STAGES = {
    "machine": GpuStage(45, "benchmarks.gpu.machine_figures", tiny=False),
    "tests": GpuStage(420, "benchmarks.gpu.device_tests", tiny=False),
    "smoke": GpuStage(110, "benchmarks.gpu.smoke"),
    "steps": GpuStage(240, "benchmarks.gpu.steps", STEPS),
    "encoder": GpuStage(60, "benchmarks.gpu.encoder"),
    "traffic": GpuStage(240, "benchmarks.gpu.steps", ("--stage", "traffic", *TRAFFIC)),
    "eight_bits": GpuStage(180, "benchmarks.gpu.steps", ("--stage", "eight_bits", "eight_bits")),
    "compile": GpuStage(200, "benchmarks.gpu.steps", ("--stage", "compile", "--compile", "shapes", "step_times")),
    "http": GpuStage(260, "benchmarks.gpu.http_figures"),
}
# Without names, a card is measured by all of them, and a small model by those that start no server and compile nothing.
TINY_STAGES = ("machine", "steps", "encoder", "traffic")


class StageRun:
    """The files of one run: every figure in figures.jsonl, everything else that the stages print in log.txt."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._figures = (folder / "figures.jsonl").open("a")
        self._log = (folder / "log.txt").open("a")

    def close(self) -> None:
        """Close the files."""
        self._figures.close()
        self._log.close()

    def record(self, line: str) -> None:
        """Print and keep a figure."""
        print(line, flush=True)
        self._figures.write(line + "\n")
        self._figures.flush()

    def log(self, text: str) -> None:
        """Keep a line of output."""
        self._log.write(text)
        self._log.flush()

    def stage(self, name: str, *, tiny: bool, environment: dict[str, str]) -> bool:
        """Run one stage within its limit; return whether it succeeded."""
        stage = STAGES[name]
        command = [sys.executable, "-m", stage.module, *(["--tiny"] if tiny and stage.tiny else []), *stage.arguments]
        self.log(f"== {name}: {' '.join(command)}\n")
        began = time.monotonic()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=self._log, text=True)
        assert process.stdout is not None
        limits = (
            threading.Timer(stage.limit, process.send_signal, (signal.SIGINT,)),
            threading.Timer(stage.limit + STOP_SECONDS, process.kill),
        )
        for limit in limits:
            limit.start()
        try:
            with process.stdout as lines:
                for line in lines:
                    if line.startswith(PREFIX):
                        self.record(line.rstrip("\n"))
                    else:
                        self.log(line)
            status = process.wait()
        finally:
            for limit in limits:
                limit.cancel()
        if status != 0:
            told = (self.folder / "log.txt").read_text(errors="replace").splitlines()
            print("\n".join(line[:300] for line in told[-MAX_LOG_LINES:]), file=sys.stderr, flush=True)
        self.record(line_of(name, f"seconds, status {status}", round(time.monotonic() - began, 1), "s"))
        return status == 0


def install_wheels(environment: dict[str, str]) -> None:
    """Put the wheels that travelled with the checkout on the path of all stages; see fetch_wheels.sh."""
    site = Path(tempfile.gettempdir()) / "gpu-check-site"
    wheels = sorted(map(str, WHEELS.glob("*.whl")))
    if not wheels:
        return
    if not (site / "done").exists():
        pip = ["pip", "install", "-q", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--upgrade"]
        subprocess.run([sys.executable, "-m", *pip, "--target", str(site), *wheels], check=True)
        # Here and not at the first import: torchao's odd escapes are warnings then, which the tests take for errors.
        subprocess.run([sys.executable, "-W", "ignore", "-m", "compileall", "-q", "-j", "0", str(site)], check=False)
        (site / "done").touch()
    environment["PYTHONPATH"] = f"{site}{os.pathsep}{environment['PYTHONPATH']}"


def _stage_name(text: str) -> str:
    # Not by argparse's `choices`, which refuse a command line that names none.
    if text not in STAGES:
        raise argparse.ArgumentTypeError(f"{text} is not one of {', '.join(STAGES)}")
    return text


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return 0 only if every stage succeeded."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="small models, on a CPU where there is no card")
    parser.add_argument("--output", type=Path, help="folder of figures.jsonl and log.txt; $OUT or a new one by default")
    every = f"{', '.join(STAGES)}; all by default, with --tiny {', '.join(TINY_STAGES)}"
    parser.add_argument("stages", nargs="*", type=_stage_name, metavar="STAGE", help=every)
    chosen = parser.parse_args(arguments)
    stages = chosen.stages or (TINY_STAGES if chosen.tiny else STAGES)
    folder = chosen.output or Path(os.environ.get("OUT") or tempfile.mkdtemp(prefix="gpu-check-"))
    environment = os.environ | {
        "OUT": str(folder), "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
        "OMP_WAIT_POLICY": "PASSIVE",
    }  # fmt: skip
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path.cwd()), os.environ.get("PYTHONPATH"))))
    if not chosen.tiny:
        install_wheels(environment)
    with closing(StageRun(folder)) as run:
        succeeded = [run.stage(name, tiny=chosen.tiny, environment=environment) for name in stages]
    print(f"Written: {folder}", file=sys.stderr)
    return 0 if all(succeeded) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
