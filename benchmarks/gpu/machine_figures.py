"""What the card can do at best: the floors that the other figures are read against."""

import time

import torch

from benchmarks.gpu.figures import say
from benchmarks.machine import describe_machine

STAGE = "machine"
SIDE = 8192
LAUNCHES = 2000


def main() -> None:
    """Say versions, memory, matrix rate, bandwidth and the host's pace at launching kernels."""
    machine = describe_machine()
    say(
        STAGE,
        "machine",
        machine["processor"],
        cores=machine["cores"],
        date=machine["date"],
        packages=machine["packages"],
        commit=machine["commit"],
        python=machine["python"],
    )
    if not torch.cuda.is_available():
        say(STAGE, "cuda", "none")
        return
    card = torch.cuda.get_device_properties(0)
    free, total = torch.cuda.mem_get_info()
    say(
        STAGE,
        "card",
        card.name,
        cuda=torch.version.cuda,
        cudnn=torch.backends.cudnn.version(),
        total_gib=round(total / 2**30, 2),
        free_gib=round(free / 2**30, 2),
    )
    left, right = (torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    say(STAGE, "bf16 matrix product", 2 * SIDE**3 / seconds_of(lambda: left @ right) / 1e12, "TFLOP/s")
    source = torch.randn(1 << 30, device="cuda", dtype=torch.bfloat16)
    target = torch.empty_like(source)
    say(STAGE, "copy on the card", 2 * source.nbytes / seconds_of(lambda: target.copy_(source)) / 1e12, "TB/s")
    small = torch.zeros(16, device="cuda")
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(LAUNCHES):
        small.add_(1)
    say(STAGE, "host, one small kernel", 1e6 * (time.perf_counter() - began) / LAUNCHES, "us")
    waiting = torch.empty(1 << 28, dtype=torch.uint8)
    say(STAGE, "pageable memory to the card", waiting.nbytes / seconds_of(lambda: waiting.to("cuda")) / 1e9, "GB/s")
    pinned = waiting.pin_memory()
    say(STAGE, "pinned memory to the card", waiting.nbytes / seconds_of(lambda: pinned.to("cuda")) / 1e9, "GB/s")


def seconds_of(work, times: int = 5) -> float:
    """Return the least seconds of a few runs on the card."""
    found = []
    for _ in range(times + 1):
        torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        found.append(time.perf_counter() - began)
    return min(found[1:])


if __name__ == "__main__":
    main()
