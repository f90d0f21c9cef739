"""Models are read file by file straight to their device: the machine needs the memory of the largest file."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.full_mode import needs_full_mode
from tests.support.paths import ROOT

# In a process of its own: a kind of device lasts as long as its process. Once before, for what is imported late.
LOADING = """
import sys
from pathlib import Path
import diffusers, psutil, torch
from benchmarks.empty_device import open_device
from imageserver.engine.devices.memory_plans import BY_NAME
from imageserver.engine.models.components import load_components

device, folder = open_device(), Path(sys.argv[1])
torch.manual_seed(0)
model = diffusers.QwenImageTransformer2DModel(
    patch_size=2, in_channels=16, out_channels=4, num_layers=8, attention_head_dim=64, num_attention_heads=12,
    joint_attention_dim=32, axes_dims_rope=(16, 24, 24),
).to(torch.bfloat16)
model.save_pretrained(folder / "transformer", max_shard_size="90MB")
(folder / "model_index.json").write_text('{"transformer": ["diffusers", "QwenImageTransformer2DModel"]}')
del model
files = [file.stat().st_size for file in folder.glob("*/*.safetensors")]

def peak(place):
    Path("/proc/self/clear_refs").write_text("5")
    before = psutil.Process().memory_info().rss
    loaded = load_components(folder, BY_NAME["full"], torch.float32, place, left_out=())["transformer"]
    assert {weight.device.type for weight in loaded.parameters()} == {place.type}
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 - before

peak(device)
print(len(files), peak(device) / max(files), peak(torch.device("cpu")) / max(files))
"""


@needs_full_mode
def test_loading_to_a_device_takes_the_ram_of_the_largest_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADING, str(tmp_path)],
        # Freed memory goes back at once, else a later load takes it again and its peak is not seen.
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "100000"},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    files, to_device, to_ram = map(float, done.stdout.split()[-3:])
    assert files >= 4
    assert to_ram > 4
    assert to_device < 1.3
