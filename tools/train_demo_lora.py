"""Train the LoRA "night" for the embedded demo model: dark backgrounds, the objects as bright as ever.

    python tools/train_demo_lora.py                       a few minutes on two CPU cores
    python tools/train_demo_lora.py --output loras        to try it without replacing the shipped one

The same seed and number of steps give the same LoRA on the same machine. At the end a few images are drawn without
and with it, and the brightness of their borders is told.
"""

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

    from tools.demo.fine_tuning import read_command_line
    from tools.demo.train_lora import LoraPlan, LoraTraining, border_brightness

    pipeline, plan, output = read_command_line(__doc__, LoraPlan(), ROOT / "imageserver" / "loras", arguments)
    with torch.no_grad():
        before = border_brightness(pipeline, PROMPTS)
    training = LoraTraining(pipeline, plan)
    loss = training.run()
    file = training.save(output, "night")
    with torch.no_grad():
        after = border_brightness(pipeline, PROMPTS)
    size = file.stat().st_size / 1024
    print(
        f"{file.name}: {size:.0f} KiB, loss {loss:.4f}, borders {before:.0f} before and {after:.0f} with it", flush=True
    )


if __name__ == "__main__":
    main()
