"""The full-size Qwen-Image with random weights in one process: bare `pipe()` against the engine on the same weights.

`--tiny` builds a small one, on a CPU where there is no card. Parts run in the order in which they are named.
`--compile` loads with COMPILE=1; `--stage` names the figures.
"""

import argparse
import contextlib
import time
import traceback
from collections.abc import Callable, Iterator

from benchmarks.gpu.check import FULL, TINY, Check
from benchmarks.gpu.eight_bits import eight_bits
from benchmarks.gpu.figures import say
from benchmarks.gpu.forwards import attention, decoding, graphs, memory, shapes
from benchmarks.gpu.step_times import batches, step_times, syncs
from benchmarks.gpu.traffic import clients, decode_charge, guided_clients, interruption, mixed

PARTS: dict[str, Callable[[Check], None]] = {
    part.__name__: part
    for part in (
        *(step_times, batches, syncs, decoding, decode_charge, clients),
        *(guided_clients, mixed, interruption, attention, shapes, graphs, memory, eight_bits),
    )
}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--stage", default="steps")
    parser.add_argument("parts", nargs="+", choices=PARTS)
    chosen = parser.parse_args()
    check = Check(TINY if chosen.tiny else FULL, chosen.stage, tiny=chosen.tiny, compiled=chosen.compile)
    for name in chosen.parts:
        with _timed_part(check.stage, name):
            PARTS[name](check)


@contextlib.contextmanager
def _timed_part(stage: str, name: str) -> Iterator[None]:
    """Say how long a part took; a failure is a finding too and does not stop the others."""
    began = time.monotonic()
    try:
        yield
    except Exception as error:
        say(stage, f"part {name} failed", f"{type(error).__name__}: {error}"[:400])
        traceback.print_exc()
    say(stage, f"part {name}", time.monotonic() - began, "s")


if __name__ == "__main__":
    main()
