"""Weights in 8 bits with a scale each, as ComfyUI and others publish them: fp8 "scaled".

Without its scale a matrix is wrong by a factor of its own, and every image is black or noise.
Source: ComfyUI `comfy/ops.py` and `comfy/utils.py` (`convert_old_quants`).
"""

from collections.abc import Mapping, MutableMapping

import torch

from imageserver.engine.downloads import ModelUnavailable

FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
# After the name of the layer, in ComfyUI's older files and in its newer ones; one number, or one for each output.
SCALES = (".scale_weight", ".weight_scale")
# For the inputs of a layer, where it is computed in 8 bits, which is not done here.
INPUT_SCALES = (".scale_input", ".input_scale")
# Stands in a file whose matrices all have scales.
MARK = "scaled_fp8"


def unscaled(file: str, tensors: MutableMapping[str, torch.Tensor], dtype: torch.dtype) -> Mapping[str, torch.Tensor]:
    """Return the weights in `dtype`, with their scales multiplied in and left out; others are as they were.

    Raises ModelUnavailable for a matrix without its scale among others with one.
    """
    scales = {
        name.removesuffix(ending) + ".weight": tensors.pop(name)
        for ending in SCALES
        for name in [name for name in tensors if name.endswith(ending)]
    }
    is_marked = tensors.pop(MARK, None) is not None
    for name in [name for name in tensors if name.endswith(INPUT_SCALES)]:
        del tensors[name]
    if not scales and not is_marked:
        return tensors
    matrices = [name for name, tensor in tensors.items() if tensor.dtype in FLOAT8 and tensor.ndim > 1]
    for name in matrices:
        if name not in scales:
            raise ModelUnavailable(f"{file} has no scale for {name}, although its weights are fp8 with scales.")
        tensors[name] = _multiplied(file, name, tensors[name], scales.pop(name), dtype)
    if scales:
        raise ModelUnavailable(f"{file} has a scale for {min(scales)}, which is not there or not in fp8.")
    return tensors


def _multiplied(file: str, name: str, weight: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    factor = scale.float().flatten()
    if factor.numel() not in (1, weight.shape[0]) or not torch.isfinite(factor).all():
        raise ModelUnavailable(f"{file} has a scale for {name} that does not fit it.")
    return (weight.float() * factor.reshape(-1, *(1 for _ in weight.shape[1:]))).to(dtype)
