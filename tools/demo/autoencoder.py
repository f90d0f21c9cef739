"""The VAE: a fixed, exact encoder (2 x 2 RGB means of each 32 x 32 pixel cell) and a learnt decoder.

Fixed latents are smooth, keep every hue and need no training; the decoder is a 16x super-resolution, which can be
trained again without touching the transformer.
"""

import itertools
from typing import Any

import torch
from diffusers import AutoencoderKLQwenImage
from diffusers.models.autoencoders import autoencoder_kl_qwenimage as stock
from torch import nn
from torch.nn import functional

from tools.demo.networks import CHANNELS, Model

FULL: dict[str, Any] = {
    "base_dim": 4,
    "z_dim": CHANNELS,
    "dim_mult": [2, 2, 4, 8, 12, 16],
    "num_res_blocks": 1,
    "temperal_downsample": [False] * 5,
}
# The same decoder down to a quarter of the size: cheap to train, then placed inside the full one.
INNER: dict[str, Any] = {
    "base_dim": 8,
    "z_dim": CHANNELS,
    "dim_mult": [2, 4, 6, 8],
    "num_res_blocks": 1,
    "temperal_downsample": [False] * 3,
}
LINEARISER = 4096.0  # a channel this large makes the encoder's last norm and SiLU linear


def make_autoencoder(config: dict[str, Any], mean: tuple[float, ...], std: tuple[float, ...]) -> Model:
    """Build the VAE; `mean` and `std` hold one value per colour channel."""
    repeat = CHANNELS // 3
    return AutoencoderKLQwenImage(**config, latents_mean=list(mean) * repeat, latents_std=list(std) * repeat)


def cell_means(images: torch.Tensor, box: int) -> torch.Tensor:
    """Encode (n, 3, h, w) images by hand: means of box x box pixels, packed to (n, 12, 1, h / 2 box, w / 2 box)."""
    means = functional.avg_pool2d(images, box)
    count, colours, height, width = means.shape
    cells = means.view(count, colours, height // 2, 2, width // 2, 2).permute(0, 3, 5, 1, 2, 4)
    return cells.reshape(count, CHANNELS, 1, height // 2, width // 2)


def _average_boxes(down: list[Model]) -> None:
    """Make every down-sampler but the last average 2 x 2 boxes; the last one lays them side by side in channels."""
    for block in down[:-1]:
        for colour in range(3):
            block.resample[1].weight[colour, colour, :2, :2] = 0.25
    for dy, dx, colour in itertools.product((0, 1), (0, 1), range(3)):
        down[-1].resample[1].weight[(dy * 2 + dx) * 3 + colour, colour, dy, dx] = 1


@torch.no_grad()
def write_encoder(model: Model) -> None:
    """Write `cell_means` into the stock encoder, exactly.

    Down-samplers become box averages, residual branches are switched off, and the last norm and SiLU are made linear by
    one huge constant channel and by silu(a) - silu(-a) = a.
    """
    encoder = model.encoder
    for name, parameter in encoder.named_parameters():
        if parameter.ndim > 1 or name.endswith("bias"):
            parameter.zero_()
    for colour in range(3):
        encoder.conv_in.weight[colour, colour, -1, 1, 1] = 1
    _average_boxes([block for block in encoder.down_blocks if hasattr(block, "resample")])
    residual = [block for block in encoder.down_blocks if hasattr(block, "conv2")]
    for block in residual[:-1]:
        if not isinstance(block.conv_shortcut, nn.Identity):
            for colour in range(3):
                block.conv_shortcut.weight[colour, colour, -1, 0, 0] = 1
    shortcut = residual[-1].conv_shortcut
    for channel in range(CHANNELS):
        shortcut.weight[channel, channel, -1, 0, 0] = 1
        shortcut.weight[CHANNELS + channel, channel, -1, 0, 0] = -1
    shortcut.bias[-1] = LINEARISER
    gain = LINEARISER / shortcut.weight.shape[0] ** 0.5
    encoder.norm_out.gamma.fill_(1)
    model.quant_conv.weight.zero_()
    model.quant_conv.bias.zero_()
    model.quant_conv.bias[CHANNELS:] = -20.0  # the log-variance: the encoder is certain
    for channel in range(CHANNELS):
        encoder.conv_out.weight[channel, channel, -1, 1, 1] = gain
        encoder.conv_out.weight[channel, CHANNELS + channel, -1, 1, 1] = -gain
        model.quant_conv.weight[channel, channel] = 1


def _orthogonal(rows: int, columns: int) -> torch.Tensor:
    weight = torch.empty(rows, columns)
    nn.init.orthogonal_(weight)
    weight *= max(1.0, (rows / columns) ** 0.5)
    return weight


def _widen(rows: int, columns: int) -> torch.Tensor:
    weight = torch.randn(rows, columns)
    weight /= columns**0.5
    weight[:columns] = torch.eye(columns)
    return weight


def _start_convolution(convolution: Model) -> None:
    rows, columns, _, size, _ = convolution.weight.shape
    convolution.weight.zero_()
    convolution.bias.zero_()
    convolution.weight[:, :, -1] = torch.randn(rows, columns, size, size) / (columns * size * size) ** 0.5


def _start_resampler(resampler: Model) -> None:
    convolution = resampler.resample[1]
    rows, columns = convolution.weight.shape[:2]
    tent = torch.tensor([1.0, 2.0, 1.0])
    smooth = _orthogonal(rows, columns)[:, :, None, None] * (tent[:, None] * tent[None] / 16)
    convolution.weight.copy_(smooth + 0.01 * torch.randn_like(convolution.weight))
    convolution.bias.zero_()


def _start_residual(block: Model) -> None:
    block.conv2.weight.zero_()
    if not isinstance(block.conv_shortcut, nn.Identity):
        rows, columns = block.conv_shortcut.weight.shape[:2]
        mixed = _widen(rows, columns) if rows >= columns else _orthogonal(rows, columns)
        block.conv_shortcut.weight.zero_()
        block.conv_shortcut.weight[:, :, -1, 0, 0] = mixed


@torch.no_grad()
def initialise_decoder(model: Model) -> None:
    """Start the decoder as a near-linear pyramid: residual branches at zero, up-samplers smooth, variances kept."""
    modules = list(model.decoder.modules())
    for module in modules:
        if isinstance(module, stock.QwenImageCausalConv3d):
            _start_convolution(module)
        elif isinstance(module, stock.QwenImageResample):
            _start_resampler(module)
    for module in modules:
        if isinstance(module, stock.QwenImageResidualBlock):
            _start_residual(module)
        elif isinstance(module, stock.QwenImageAttentionBlock):
            for parameter in module.proj.parameters():
                parameter.zero_()
    model.post_quant_conv.weight.zero_()
    model.post_quant_conv.bias.zero_()
    for channel in range(CHANNELS):
        model.post_quant_conv.weight[channel, channel] = 1


@torch.no_grad()
def grow(inner: Model, full: Model) -> None:
    """Place a trained inner decoder inside the full one; only the top two levels stay new."""
    weights, known = full.state_dict(), inner.state_dict()
    for name, value in known.items():
        shared = name.startswith(("post_quant_conv", "decoder.conv_in", "decoder.mid_block", "decoder.up_blocks."))
        if shared and name in weights and weights[name].shape == value.shape:
            weights[name].copy_(value)


def decode(model: Model, latents: torch.Tensor) -> torch.Tensor:
    """Decode (n, 12, 1, h, w) cell means to (n, 3, 32 h, 32 w) images, with gradients."""
    image: torch.Tensor = model.decoder(model.post_quant_conv(latents))[:, :, 0]
    return image
