"""How soon the loss of a card of a group is noticed: `python -m benchmarks.rank_faults`.

Two ranks on the CPU with a denoiser of one addition; the other rank is killed, or stopped, in the middle of a forward.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import torch

from imageserver.engine.card_group import rank_process
from imageserver.engine.card_group.card_group import CardGroup
from imageserver.engine.card_group.group_forward import GroupForward
from imageserver.engine.card_group.lora_copies import LoraCopies
from imageserver.engine.card_group.messages import LoadDenoiser
from imageserver.settings import Settings
from tests.support.fake_denoiser import FakeDenoiser, FakeMerger
from tests.support.fake_denoisers import SLOW

MODEL = "addition"
# After it the other rank is in its forward, which takes a minute.
FORWARD_SECONDS = 1.0
MAX_SECONDS = 60.0


def main() -> int:
    """Lose the other rank several times in each way, and print how long it took to be noticed and made good."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rank_faults", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often the rank is lost in each way")
    rounds = parser.parse_args().rounds
    rank_process.RANK_MODULE = "tests.support.fake_rank"
    for name, number in {"it is killed": signal.SIGKILL, "it is stopped": signal.SIGSTOP}.items():
        losses = [_lose(number) for _ in range(rounds)]
        print(f"{name}, noticed after {_shown(noticed for noticed, _ in losses)}", flush=True)
        print(f"{name}, all results there after {_shown(computed for _, computed in losses)}", flush=True)
    return 0


def _shown(times: Iterable[float]) -> str:
    return f"{', '.join(f'{each:.3f}' for each in sorted(times))} s"


def _lose(number: int) -> tuple[float, float]:
    """Return the seconds until the loss is noticed, and until all results of the forward are there."""
    group = CardGroup(("cpu", "cpu"), Settings(_env_file=None))
    try:
        forward = _open(group)
        [rank] = group.processes
        with ThreadPoolExecutor(1) as pool:
            computing = pool.submit(forward.compute, [_call(2.0), _call(SLOW)])
            time.sleep(FORWARD_SECONDS)
            began = time.monotonic()
            os.kill(rank.pid, number)
            assert rank.is_lost_within(MAX_SECONDS), "its loss is noticed"
            noticed = time.monotonic() - began
            outputs, _ = computing.result(MAX_SECONDS)
            assert [float(output[0]) for output in outputs] == [3.0, 1.0 + SLOW]
            return noticed, time.monotonic() - began
    finally:
        group.close()


def _open(group: CardGroup) -> GroupForward:
    group.load(
        LoadDenoiser(model=MODEL, denoiser="", folder="", dtype="float32", memory_plan="full", transformer_file=None)
    )
    assert group.complete(MODEL), group.loss
    assert group.size == 2, group.loss
    denoiser, merger = FakeDenoiser(), FakeMerger()
    adapters: Any = SimpleNamespace(attached=(), in_use=())
    return GroupForward(group, MODEL, denoiser, denoiser.forward, merger, LoraCopies(MODEL, denoiser, adapters))


def _call(text: float) -> dict[str, torch.Tensor]:
    return {"hidden_states": torch.ones(1, 1), "timestep": torch.zeros(1), "text": torch.full((1, 1), text)}


if __name__ == "__main__":
    sys.exit(main())
