"""Write the cards of this machine, one a line: `python -m imageserver.engine.devices.inventory KIND`.

KIND is `auto` for the first kind of accelerator that there is, or `cuda`, `xpu`, `npu`, `mps`, `cpu`. PyTorch counts
them in a process of its own, because the dispatcher must not import it.
"""

import sys

from imageserver.engine.devices import devices


def main() -> None:
    for device in devices.all_of_kind(devices.choose(sys.argv[1])):
        sys.stdout.write(f"{device}\n")


if __name__ == "__main__":
    main()
