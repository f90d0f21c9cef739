"""Train the ControlNet "silhouettes" for the embedded demo model: white on black, where the objects stand.

    python tools/train_demo_control.py                       about ten minutes on two CPU cores
    python tools/train_demo_control.py --output /tmp/mine    to try it without replacing the shipped one

The same seed and number of steps give the same ControlNet on the same machine. At the end it is told how well discs
cover those that guide them, without and with it.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main(arguments: list[str] | None = None) -> None:
    """Train, save and compare."""
    # Threads that spin at every barrier starve each other beside a busy neighbour.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch

    from tools.demo.fine_tuning import read_command_line
    from tools.demo.train_control import ControlPlan, ControlTraining, overlap

    pipeline, plan, output = read_command_line(
        __doc__, ControlPlan(), ROOT / "imageserver" / "controls" / "silhouettes", arguments
    )
    training = ControlTraining(pipeline, plan)
    loss = training.run()
    file = training.save(output)
    with torch.no_grad():
        without, guided = (overlap(pipeline, training.net, scale) for scale in (0.0, 1.0))
    size = file.stat().st_size / 1024
    print(f"{output.name}: {size:.0f} KiB, loss {loss:.4f}, overlap {without:.2f} without and {guided:.2f} with it")


if __name__ == "__main__":
    main()
