"""ControlNets for tiny models: fresh ones, which change nothing, and random ones, which do."""

from typing import Any

import torch
from diffusers import ControlNetModel, QwenImageControlNetModel


def tiny_control(pipeline: Any, *, random: bool = True, seed: int = 0) -> Any:
    """Return a ControlNet for a pipeline's model; as it begins its training, what it adds is zero unless `random`."""
    torch.manual_seed(seed)
    if hasattr(pipeline, "unet"):
        net: Any = ControlNetModel.from_unet(pipeline.unet, conditioning_embedding_out_channels=(4, 8, 8, 16))
        zeros = [net.controlnet_cond_embedding.conv_out, net.controlnet_mid_block, *net.controlnet_down_blocks]
    else:
        config = pipeline.transformer.config
        net = QwenImageControlNetModel(
            in_channels=config.in_channels, out_channels=config.out_channels, num_layers=1,
            attention_head_dim=config.attention_head_dim, num_attention_heads=config.num_attention_heads,
            joint_attention_dim=config.joint_attention_dim, axes_dims_rope=config.axes_dims_rope,
        )  # fmt: skip
        zeros = [net.controlnet_x_embedder, *net.controlnet_blocks]
    if random:
        for layer in zeros:
            torch.nn.init.normal_(layer.weight, std=0.3)
    return net.eval()
