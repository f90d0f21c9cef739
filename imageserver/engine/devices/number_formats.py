"""The number format of DTYPE=auto: the fastest in which the device computes and the model is known to generate."""

import torch

from imageserver.engine.devices import devices


def choose(device: torch.device, *, float16: bool) -> tuple[torch.dtype, str]:
    """Return the format and, where it is not what the device's kind usually has, a sentence that says why.

    `float16` says that the model generates in it: CogView4's images are black, and Qwen-Image overflows.
    """
    if not devices.is_accelerator(device):
        return torch.float32, ""
    if devices.computes_bfloat16(device):
        return torch.bfloat16, ""
    emulated = f"{devices.gpu_name(device)} only emulates bfloat16, slowly"
    if float16:
        return torch.float16, f"{emulated}, so the weights are float16."
    return torch.float32, (
        f"{emulated}, and this model is not known to generate in float16, so the weights are float32; DTYPE changes it."
    )
