"""How much RAM loading takes: a model in several files, read to a device that keeps nothing.

`python -m benchmarks.loading_memory`: makes a transformer of 4 GB in four files (six layers of Qwen-Image's size) and a
text encoder of 2 GB in four, both with random bfloat16 weights, in a temporary folder, then loads them in fresh
processes. Each says the peak of its resident memory above what it held before, pages of the files included.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.full_size import TRANSFORMER

LAYERS = 6
SHARDS = {"transformer": "1100MB", "text_encoder": "600MB"}
WAYS = {
    "straight": "straight to the device, as served",
    "parallel": "the same with HF_ENABLE_PARALLEL_LOADING=1",
    "through": "whole into RAM, then to the device",
}


def main() -> None:
    """Make the model, load it in every way, and print a line for each."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", __spec__.name, "make", folder], check=True)
        for name in SHARDS:
            for way, words in WAYS.items():
                for number_format in ("bfloat16", "float16"):
                    command = [sys.executable, "-m", __spec__.name, way, folder, name, number_format]
                    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
                    print(f"{name} as {number_format}, {words}: {found}", flush=True)


def make(folder: Path) -> None:
    """Write the model as a pipeline with two components."""
    import diffusers
    import torch
    import transformers

    torch.set_default_dtype(torch.bfloat16)
    transformer = diffusers.QwenImageTransformer2DModel(**{**TRANSFORMER, "num_layers": LAYERS})  # type: ignore[arg-type]
    encoder = transformers.Qwen3Model(
        transformers.Qwen3Config(vocab_size=32_000, hidden_size=2560, intermediate_size=9728, num_hidden_layers=8)
    )
    for name, part in (("transformer", transformer), ("text_encoder", encoder)):
        part.save_pretrained(folder / name, max_shard_size=SHARDS[name])
    parts = {"transformer": ["diffusers", type(transformer).__name__], "text_encoder": ["transformers", "Qwen3Model"]}
    (folder / "model_index.json").write_text(json.dumps(parts))


def load(way: str, folder: Path, name: str, number_format: str) -> None:
    """Load a component in one way and print the peak."""
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
    place, others = torch.device("cpu") if way == "through" else device, SHARDS.keys() - {name}
    loaded = load_components(folder, BY_NAME["full"], getattr(torch, number_format), place, left_out=others)[name]
    loaded.to(device)
    peak = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024 - before
    files = [file.stat().st_size for file in (folder / name).glob("*.safetensors")]
    sizes = " + ".join(f"{size / 1e9:.2f}" for size in sorted(files))
    print(f"{peak / 1e9:.2f} GB, {peak / max(files):.2f} of the largest file ({sizes} GB)")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    elif sys.argv[1] == "make":
        make(Path(sys.argv[2]))
    else:
        load(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
