"""The full-size Qwen-Image with random weights, for a CUDA card: it generates noise at the real cost.

Transformer and VAE have the configuration of Qwen/Qwen-Image (60 layers, 24 heads of 128, 20 billion parameters); the
text encoder has its width (3584) but one layer, because its cost is not measured. Nothing is downloaded or written:
`replace_loading` makes diffusers build the pipeline instead of loading one.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

# Beside the weights: a forward of sixteen images of 1024 x 1024, suspended latents and one decoding.
WORKING_BYTES = 10 * 1024**3
GIB = 1024**3
TRANSFORMER = {
    "patch_size": 2,
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 60,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 3584,
    "guidance_embeds": False,
    "axes_dims_rope": (16, 56, 56),
}
VAE_WIDTH = 96
SCHEDULER = {
    "base_image_seq_len": 256,
    "base_shift": 0.5,
    "invert_sigmas": False,
    "max_image_seq_len": 8192,
    "max_shift": 0.9,
    "num_train_timesteps": 1000,
    "shift": 1.0,
    "shift_terminal": 0.02,
    "time_shift_type": "exponential",
    "use_dynamic_shifting": True,
}
# Small enough that sixty layers neither vanish nor overflow in bfloat16.
WEIGHT_DEVIATION = 0.02
SEED = 0


def reason_against(tokenizer_model: Path) -> str | None:
    """Return one sentence that says why this machine cannot measure it, or None."""
    import torch

    if not torch.cuda.is_available():
        return "torch sees no CUDA device on this machine."
    free = torch.cuda.mem_get_info()[0]
    needed = weight_bytes(tokenizer_model) + WORKING_BYTES
    if free < needed:
        return f"the full-size model needs {needed / GIB:.0f} GiB and the card has {free / GIB:.0f} GiB free."
    return None


def weight_bytes(tokenizer_model: Path, **smaller: int) -> int:
    """Return the bytes of the weights that `build` makes, without making them."""
    pipeline = build(tokenizer_model, "meta", **smaller)
    parts = (pipeline.transformer, pipeline.vae, pipeline.text_encoder)
    return sum(parameter.nbytes for part in parts for parameter in part.parameters())


def replace_loading(make_pipeline: Callable[[], Any]) -> None:
    """Make `DiffusionPipeline.from_pretrained` return what `make_pipeline` builds, for any model."""
    import diffusers

    loader: Any = diffusers.DiffusionPipeline
    loader.from_pretrained = lambda *_args, **_options: make_pipeline()


def build(tokenizer_model: Path, device: str, *, vae_width: int = VAE_WIDTH, **smaller: int) -> Any:
    """Return the pipeline in bfloat16, its random weights made on the device; `smaller` overrides the transformer's."""
    import diffusers
    import torch
    import transformers

    sizes: dict[str, Any] = {**TRANSFORMER, **smaller}
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(tokenizer_model / "tokenizer"))
    previous = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        # Straight on the device: forty gigabytes of weights are never in the machine's own memory.
        with torch.device(device):
            transformer: Any = diffusers.QwenImageTransformer2DModel(**sizes)
            vae: Any = diffusers.AutoencoderKLQwenImage(base_dim=vae_width)
            text_config = _text_config(sizes["joint_attention_dim"], len(tokenizer))
            text_encoder: Any = transformers.Qwen2_5_VLForConditionalGeneration(text_config)
    finally:
        torch.set_default_dtype(previous)
    torch.manual_seed(SEED)
    for part in (transformer, vae, text_encoder):
        randomize(part)
        part.eval()
    pipeline: Any = diffusers.QwenImagePipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**SCHEDULER),
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=transformer,
    )
    return pipeline.to(torch.bfloat16)


def randomize(part: Any) -> None:
    """Make the weights of a part random; the transformer is the first after the seed."""
    for parameter in part.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0.0, WEIGHT_DEVIATION)


def _text_config(width: int, tokens: int) -> Any:
    from transformers import Qwen2_5_VLConfig

    text = {
        "hidden_size": width,
        "intermediate_size": width,
        "num_hidden_layers": 1,
        "num_attention_heads": width // 128,
        "num_key_value_heads": max(1, width // 896),
        "vocab_size": tokens,
        "max_position_embeddings": 2048,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [16, 24, 24]},
    }
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": width}
    return Qwen2_5_VLConfig(text_config=text, vision_config=vision)
