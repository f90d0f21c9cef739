"""A simulated device, the same for all servers: the denoiser sleeps along the published curve, all else is real.

It patches the classes of diffusers: every Qwen-Image pipeline loaded afterwards uses it. As on a card, one forward runs
at a time, and a forward keeps its thread: it neither yields to greenlets nor needs a processor core. The decoder only
enlarges the latents, because two cores cannot decode as fast as a card does beside its forwards.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch

from benchmarks.curve import forward_seconds

Shapes = Sequence[Sequence[tuple[int, int, int]]]


class SimulatedDevice:
    """Sleeps for every forward; `time_scale` 0.25 sleeps a quarter of the published time."""

    def __init__(self, time_scale: float, pixels_per_token: int) -> None:
        self._time_scale = time_scale
        self._pixels_per_token = pixels_per_token
        self._lock = _original("_thread", "allocate_lock")()
        self._sleep: Callable[[float], None] = _original("time", "sleep")

    def install(self) -> None:
        """Replace the denoiser's forward and the decoder of this process."""
        device = self

        def forward(
            _model: Any, hidden_states: torch.Tensor, img_shapes: Shapes, **_others: Any
        ) -> tuple[torch.Tensor]:
            device.work(img_shapes[0][0], hidden_states.shape[0])
            # Any velocity will do; this one leaves images that differ with the seed.
            return (0.5 * hidden_states,)

        transformer: Any = diffusers.QwenImageTransformer2DModel
        vae: Any = diffusers.AutoencoderKLQwenImage
        transformer.forward, vae.decode = forward, _enlarge

    def work(self, grid: tuple[int, int, int], batch: int) -> None:
        """Take as long as a forward of `batch` images whose tokens form `grid`."""
        pixels = grid[1] * grid[2] * self._pixels_per_token
        with self._lock:
            began = time.monotonic()
            seconds = self._time_scale * forward_seconds(pixels, batch)
            self._sleep(max(0.0, began + seconds - time.monotonic()))


def simulate(model: Path, time_scale: float) -> None:
    """Install a simulated device for the model in a folder of diffusers."""
    config = json.loads((model / "vae" / "config.json").read_text())
    side = 2 * 2 ** len(config["temperal_downsample"])
    SimulatedDevice(time_scale, side * side).install()


def _enlarge(vae: Any, z: torch.Tensor, return_dict: bool = True) -> tuple[torch.Tensor]:
    """Return latents of shape (batch, channels, 1, height, width) as smooth images with three channels."""
    factor = 2 ** len(vae.config.temperal_downsample)
    image = torch.nn.functional.interpolate(z[:, :3, 0].float(), scale_factor=factor, mode="bilinear")
    return (image.clamp(-1, 1).to(z.dtype).unsqueeze(2),)


def _original(module: str, name: str) -> Any:
    """Return a function without gevent's patches: a real device knows no greenlets."""
    if "gevent.monkey" in sys.modules:
        return sys.modules["gevent.monkey"].get_original(module, name)
    __import__(module)
    return getattr(sys.modules[module], name)
