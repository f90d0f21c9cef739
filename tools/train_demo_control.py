"""Train the ControlNet "silhouettes" for the embedded demo model: white on black, where the objects stand.

    python tools/train_demo_control.py                       about ten minutes on two CPU cores
    python tools/train_demo_control.py --output /tmp/mine    to try it without replacing the shipped one

The same seed and number of steps give the same ControlNet on the same machine. At the end it is told how well discs
cover those that guide them, without and with it.
"""

import argparse
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
    from diffusers import QwenImagePipeline

    from tools.demo.train_control import ControlPlan, ControlTraining, overlap

    usual = ControlPlan()
    folder = ROOT / "imageserver" / "controls" / "silhouettes"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "imageserver" / "demo_model", help="model folder")
    parser.add_argument("--output", type=Path, default=folder, help="where it is written")
    parser.add_argument("--steps", type=int, default=usual.steps, help=f"training steps (default: {usual.steps})")
    parser.add_argument("--scenes", type=int, default=usual.scenes, help=f"pictures (default: {usual.scenes})")
    parser.add_argument("--minutes", type=float, default=usual.minutes, help="stop after so many at the latest")
    parser.add_argument("--seed", type=int, default=usual.seed)
    given = parser.parse_args(arguments)
    pipeline = QwenImagePipeline.from_pretrained(given.model, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    plan = ControlPlan(scenes=given.scenes, steps=given.steps, minutes=given.minutes, seed=given.seed)
    training = ControlTraining(pipeline, plan)
    loss = training.run()
    file = training.save(given.output)
    with torch.no_grad():
        without, guided = (overlap(pipeline, training.net, scale) for scale in (0.0, 1.0))
    size = file.stat().st_size / 1024
    print(
        f"{given.output.name}: {size:.0f} KiB, loss {loss:.4f}, overlap {without:.2f} without and {guided:.2f} with it"
    )


if __name__ == "__main__":
    main()
