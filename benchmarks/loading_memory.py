"""How much RAM loading takes: a transformer of 4 GB in four files, read to a device that keeps nothing.

`python -m benchmarks.loading_memory`: makes the transformer (six layers of Qwen-Image's size, random bfloat16 weights)
in a temporary folder, then loads it in fresh processes. Each says the peak of its resident memory above what it held
before, pages of the files included.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.full_size import TRANSFORMER

LAYERS = 6
SHARD = "1100MB"
WAYS = {
    "straight": "straight to the device, as served",
    "parallel": "the same with HF_ENABLE_PARALLEL_LOADING=1",
    "through": "whole into RAM, then to the device",
}


def main() -> None:
    """Make the model, load it in every way, and print a line for each."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", __spec__.name, "make", folder], check=True)
        for way, words in WAYS.items():
            for number_format in ("bfloat16", "float16"):
                command = [sys.executable, "-m", __spec__.name, way, folder, number_format]
                found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
                print(f"as {number_format}, {words}: {found}", flush=True)


def make(folder: Path) -> None:
    """Write the transformer as a pipeline with one component."""
    import diffusers
    import torch

    torch.set_default_dtype(torch.bfloat16)
    model = diffusers.QwenImageTransformer2DModel(**{**TRANSFORMER, "num_layers": LAYERS})  # type: ignore[arg-type]
    model.save_pretrained(folder / "transformer", max_shard_size=SHARD)
    (folder / "model_index.json").write_text('{"transformer": ["diffusers", "QwenImageTransformer2DModel"]}')


def load(way: str, folder: Path, number_format: str) -> None:
    """Load it in one way and print the peak."""
    import os

    os.environ["HF_ENABLE_PARALLEL_LOADING"] = "1" if way == "parallel" else "0"
    import diffusers
    import psutil
    import torch

    from benchmarks.empty_device import open_device
    from imageserver.engine.devices.memory_plans import BY_NAME
    from imageserver.engine.models.components import load_components

    device = open_device()
    # What the first use of the device imports is not the model's.
    diffusers.QwenImageTransformer2DModel(num_layers=1, num_attention_heads=1).to(device)
    Path("/proc/self/clear_refs").write_text("5")
    before = psutil.Process().memory_info().rss
    place, dtype = torch.device("cpu") if way == "through" else device, getattr(torch, number_format)
    load_components(folder, BY_NAME["full"], dtype, place, left_out=())["transformer"].to(device)
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024 - before
    files = [file.stat().st_size for file in (folder / "transformer").glob("*.safetensors")]
    sizes = " + ".join(f"{size / 1e9:.2f}" for size in sorted(files))
    print(f"{peak / 1e9:.2f} GB, {peak / max(files):.2f} of the largest file ({sizes} GB)")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] == "make":
        make(Path(sys.argv[2]))
    else:
        load(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
