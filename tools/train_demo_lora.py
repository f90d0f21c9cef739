"""Train the LoRA "night" for the embedded demo model: dark backgrounds, the objects as bright as ever.

    python tools/train_demo_lora.py                       a few minutes on two CPU cores
    python tools/train_demo_lora.py --output loras        to try it without replacing the shipped one

The same seed and number of steps give the same LoRA on the same machine. At the end a few pictures are drawn without
and with it, and the brightness of their borders is told.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

PROMPTS = ["a red circle on a white background", "a house by the sea"]


def main(arguments: list[str] | None = None) -> None:
    """Train, save and compare."""
    # Threads that spin at every barrier starve each other beside a busy neighbour.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import torch
    from diffusers import QwenImagePipeline

    from tools.demo.train_lora import LoraPlan, LoraTraining, border_brightness

    usual = LoraPlan()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "imageserver" / "demo_model", help="model folder")
    parser.add_argument("--output", type=Path, default=ROOT / "imageserver" / "loras", help="where night.* is written")
    parser.add_argument("--steps", type=int, default=usual.steps, help=f"training steps (default: {usual.steps})")
    parser.add_argument("--scenes", type=int, default=usual.scenes, help=f"pictures (default: {usual.scenes})")
    parser.add_argument("--minutes", type=float, default=usual.minutes, help="stop after so many at the latest")
    parser.add_argument("--seed", type=int, default=usual.seed)
    given = parser.parse_args(arguments)
    pipeline = QwenImagePipeline.from_pretrained(given.model, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    with torch.no_grad():
        before = border_brightness(pipeline, PROMPTS)
    plan = LoraPlan(scenes=given.scenes, steps=given.steps, minutes=given.minutes, seed=given.seed)
    training = LoraTraining(pipeline, plan)
    loss = training.run()
    file = training.save(given.output, "night")
    with torch.no_grad():
        after = border_brightness(pipeline, PROMPTS)
    size = file.stat().st_size / 1024
    print(
        f"{file.name}: {size:.0f} KiB, loss {loss:.4f}, borders {before:.0f} before and {after:.0f} with it", flush=True
    )


if __name__ == "__main__":
    main()
