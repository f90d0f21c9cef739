"""Say what this machine can serve, and why not: `doctor`, as text or JSON. No weight is loaded, nothing downloaded."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict

from imageserver.cli import machine
from imageserver.cli.engine_module import INSTALL, environment
from imageserver.cli.terminal.output import print_json, print_line, print_state
from imageserver.protocol.finding import Finding, read_finding
from imageserver.settings import WORKING_DIR, Settings
from imageserver.settings.source import load_settings

# PyTorch is imported from a slow disk in this time; a driver that hangs never ends.
INSPECTION_SECONDS = 120.0
# Also where torch is missing, it must not be imported here: the engine alone may know it.
INSPECTION = "imageserver.engine.models.inspection"


def doctor(*, as_json: bool) -> int:
    """Print every finding and a conclusion; return 0 where the configured model can be served, else 1."""
    settings = load_settings()
    findings: list[Finding] = []
    for finding in _inspect(settings):
        findings.append(finding)
        if not as_json:
            print_state(finding.state, f"{finding.state:<8}", f" {finding.name:<8} {finding.sentence}")
    problems = [finding.sentence for finding in findings if finding.state == "problem"]
    conclusion = _conclusion(settings, problems)
    if as_json:
        told = {"can_serve": not problems, "conclusion": conclusion, "findings": [asdict(each) for each in findings]}
        print_json(told)
    else:
        print_line(conclusion)
    return 1 if problems else 0


def _inspect(settings: Settings) -> Iterator[Finding]:
    yield from machine.inspect(settings)
    yield from _inspect_engine(settings)


def _inspect_engine(settings: Settings) -> Iterator[Finding]:
    """Yield what a process with PyTorch finds out, or why there is none."""
    command = [sys.executable, "-m", INSPECTION]
    try:
        ended = subprocess.run(
            command, input=settings.model_dump_json(), capture_output=True, text=True, cwd=WORKING_DIR, check=False,
            timeout=INSPECTION_SECONDS,
            env=environment(),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        sentence = f"PyTorch found no device within {INSPECTION_SECONDS:g} s; check the driver, or set DEVICE=cpu."
        yield Finding("torch", "problem", sentence)
        return
    yield from filter(None, map(read_finding, ended.stdout.splitlines()))
    if ended.returncode != 0:
        reason = (ended.stderr.strip().splitlines() or [f"status {ended.returncode}"])[-1]
        advice = f"; {INSTALL}" if reason.startswith("ModuleNotFoundError") else ""
        yield Finding("torch", "problem", f"The engine cannot start here ({reason}){advice}.")


def _conclusion(settings: Settings, problems: list[str]) -> str:
    if problems:
        return f"This machine cannot serve MODEL={settings.model} now. {problems[0]}"
    return f"This machine can serve MODEL={settings.model}."
