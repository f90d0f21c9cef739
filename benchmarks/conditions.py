"""The conditions of a measurement, passed to the server's processes in the environment."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Device = Literal["demo", "simulated", "cuda"]
DEVICES: tuple[Device, ...] = get_args(Device)


@dataclass(frozen=True)
class Conditions:
    """The device, the model's folder, how much shorter a simulated forward sleeps, and where a trace goes.

    `wait_policy` is what OpenMP's threads do while they wait, None for OpenMP's own choice.
    """

    device: Device
    model: Path
    time_scale: float = 1.0
    trace: Path | None = None
    wait_policy: str | None = "PASSIVE"

    def environment(self) -> dict[str, str]:
        """Return the variables for a server process, and those that keep its threads and libraries quiet."""
        policy = {"OMP_WAIT_POLICY": self.wait_policy} if self.wait_policy else {}
        return policy | {
            "BENCHMARK_DEVICE": self.device,
            "BENCHMARK_TIME_SCALE": str(self.time_scale),
            "BENCHMARK_TRACE": str(self.trace or ""),
            "MODEL": str(self.model),
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
        }


def conditions_from_environment() -> Conditions:
    """Return the conditions from the variables that `Conditions.environment` set."""
    device = os.environ["BENCHMARK_DEVICE"]
    if device not in DEVICES:
        raise SystemExit(f"BENCHMARK_DEVICE={device} is invalid; it must be one of {', '.join(DEVICES)}.")
    trace = os.environ.get("BENCHMARK_TRACE", "")
    return Conditions(
        device=device,
        model=Path(os.environ["MODEL"]),
        time_scale=float(os.environ["BENCHMARK_TIME_SCALE"]),
        trace=Path(trace) if trace else None,
        wait_policy=os.environ.get("OMP_WAIT_POLICY"),
    )
