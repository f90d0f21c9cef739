"""The names of a single file's tensors: which belong to the denoiser, and what else such files contain.

Sources: ComfyUI `comfy/model_detection.py` and `comfy/supported_models.py`; diffusers `loaders/single_file_utils.py`.
"""

import re
from collections.abc import Collection, Mapping

# What stands before the denoiser's names in files that contain more, or that ComfyUI has written.
PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.", "net.")
# The other parts of a whole checkpoint, which the model's folder has too.
OTHER_PARTS = (
    "first_stage_model.", "vae.", "cond_stage_model.", "conditioner.", "text_encoder.", "text_encoder_2.",
    "text_encoders.", "model_ema.", "denoiser.", "embedding_manager.",
)  # fmt: skip
# Schedules and marks that are no weights.
NO_WEIGHTS = re.compile(
    r"(betas|alphas_cumprod\w*|sqrt_\w+|log_one_minus_alphas_cumprod|posterior_\w+|logvar|lvlb_weights|model_ema\.\w+|"
    r"global_step|scaled_fp8|v_pred|ztsnr|__index_timestep_zero__)"
)
# Tensors beside a weight that say how it was quantized, with the program whose format it is.
QUANTIZED = tuple(
    (re.compile(pattern), title)
    for pattern, title in (
        (r"\.(absmax|quant_map|nested_absmax|nested_quant_map)$|\.quant_state\.", "bitsandbytes (4 bits)"),
        (r"\.SCB$", "bitsandbytes (8 bits)"),
        (r"\.(qweight|qzeros|wscales|smooth_factor\w*|proj_down|proj_up)$", "SVDQuant (Nunchaku) or GPTQ"),
        (r"\.weight_scale_2$", "NVFP4"),
        (r"\.weight_scale_inv$", "FP8 in blocks"),
        (r"\.comfy_quant$", "ComfyUI's mixed precision"),
    )
)
LORA = re.compile(r"\.(lora_(A|B|down|up)(\.\w+)?\.weight|lora\.(down|up)\.weight|hada_w1_a|lokr_w1(_a)?)$")
CONTROL = re.compile(r"^(control_model\.|controlnet_|control_blocks|.*zero_convs?\.|.*input_hint_block)")


def denoiser_names(names: Collection[str]) -> Mapping[str, str]:
    """Return the denoiser's tensors by the names in the file, with their names in the model.

    Where some names have a prefix, the others are those of a VAE, of text encoders or of nothing known.
    """
    prefix = next((each for each in PREFIXES if any(name.startswith(each) for name in names)), "")
    return {
        name: name.removeprefix(prefix)
        for name in names
        if name.startswith(prefix) and not name.startswith(OTHER_PARTS) and not NO_WEIGHTS.fullmatch(name)
    }


def left_over(names: Collection[str]) -> list[str]:
    """Return the names that belong neither to the denoiser nor to another known part."""
    chosen = denoiser_names(names)
    return sorted(
        name for name in names
        if name not in chosen and not name.startswith(OTHER_PARTS) and not NO_WEIGHTS.fullmatch(name)
    )  # fmt: skip


def complaint(names: Collection[str]) -> str | None:
    """Return why a file with these names is not a transformer that can be served, None where it may be one."""
    if not names:
        return "contains no tensors"
    if any(LORA.search(name) for name in names):
        return "is a LoRA: put it into LORA_DIR and name it in a request"
    for pattern, title in QUANTIZED:
        if name := next((each for each in names if pattern.search(each)), None):
            return f"is quantized by {title} ({name}), which cannot be read; take a GGUF or an fp8 file"
    if any(CONTROL.match(name) for name in names):
        return "is a ControlNet"
    if not denoiser_names(names):
        return f"contains no transformer, only other parts of a model (such as {min(names)})"
    return None
