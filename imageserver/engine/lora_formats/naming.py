"""How trainers name the tensors of a LoRA: whose layer, and which of its matrices.

Sources: peft `utils/save_and_load.py`, diffusers `utils/state_dict_utils.py`, kohya-ss sd-scripts `networks/lora.py`,
musubi-tuner, OneTrainer `modules/util/convert`, ai-toolkit, LyCORIS `modules/`, ComfyUI `comfy/lora.py`.
"""

import re
from dataclasses import dataclass

# What may stand before a layer of the denoiser. The first that leads to a layer of the model counts.
DENOISER_PREFIXES = (
    "",
    "transformer.",
    "unet.",
    "diffusion_model.",
    "model.diffusion_model.",
    "lora_unet_",
    "lora_transformer_",
    "lycoris_",
    "lycoris_unet_",
)
# And before one of a text encoder; what has no number is the only one or the first.
TEXT_PREFIXES = {
    "text_encoder": (
        "text_encoder.", "lora_te_", "lora_te1_", "lycoris_te_", "lycoris_te1_", "text_encoders.clip_l.transformer.",
        "text_encoders.clip_l.",
    ),
    "text_encoder_2": (
        "text_encoder_2.", "lora_te2_", "lycoris_te2_", "text_encoders.clip_g.transformer.", "text_encoders.clip_g.",
        "text_encoders.t5xxl.transformer.",
    ),
    "text_encoder_3": ("text_encoder_3.", "lora_te3_"),
}  # fmt: skip
# Around everything else, by peft's own `save_pretrained`.
WRAPPERS = ("base_model.model.", "module.")

# The ends of tensor names, and the matrix that each is. After peft's names one or two of the adapter's may stand.
PARTS = tuple(
    (re.compile(rf"\.{ending}$"), part)
    for ending, part in (
        (r"lora_A(\.\w+)*\.weight", "down"),
        (r"lora_B(\.\w+)*\.weight", "up"),
        (r"lora_B(\.\w+)*\.bias", "bias"),
        (r"lora_(down|linear_layer\.down)\.weight", "down"),
        (r"lora_(up|linear_layer\.up)\.weight", "up"),
        (r"lora\.down\.weight", "down"),
        (r"lora\.up\.weight", "up"),
        (r"lora_mid\.weight", "mid"),
        (r"alpha", "alpha"),
        (r"dora_scale", "magnitude"),
        (r"lora_magnitude_vector(\.\w+)?(\.weight)?", "magnitude"),
        (r"diff", "difference"),
        (r"diff_b", "bias_difference"),
        (r"hada_(?P<hada>w1_a|w1_b|w2_a|w2_b|t1|t2)", "hada"),
        (r"lokr_(?P<lokr>w1|w1_a|w1_b|w2|w2_a|w2_b|t2)", "lokr"),
    )
)
# Formats that nothing here can compute with, by what their names end with.
FOREIGN_FORMATS = (
    (re.compile(r"\.(on_input|ia3_l(\.\w+)?)"), "(IA)³"),
    (re.compile(r"\.(oft_blocks|oft_diag|oft_r(\.\w+)?|oft_R(\.\w+)?(\.weight)?)"), "OFT"),
    (re.compile(r"\.(boft_\w+)(\.\w+)?"), "BOFT"),
    (re.compile(r"\.[ab][12]\.weight"), "GLoRA"),
    (re.compile(r"\.(w_norm|b_norm)"), "LyCORIS with trained norms"),
    (re.compile(r"\.processor\.(qkv|proj)_lora\d?\.(down|up)\.weight"), "of XLabs"),
    (re.compile(r"\.(reshape_weight|set_weight)"), "a ComfyUI patch"),
    (re.compile(r"lora_controlnet"), "a Control-LoRA"),
    (re.compile(r"(^|\.)(bundle_emb|emb_params|string_to_param).*"), "a textual inversion"),
)
# Some exports cut a part of the name off; diffusers reads it too (`lora_conversion_utils.py`).
CUT = re.compile(r"(?<![a-z_])sformer_blocks\.")
# diffusers' names before 2024: the LoRA belongs to an attention's processor instead of its layers.
PROCESSOR = re.compile(r"(\.processor)?\.(to_q|to_k|to_v|to_out)_lora\.(down|up)\.weight$")


@dataclass(frozen=True)
class TensorName:
    """The layer of a tensor as the file spells it, and its part: `down`, `up`, `alpha`, `hada.w1_a`, …"""

    layer: str
    part: str


def parse(name: str) -> TensorName | None:
    """Return what a tensor's name says; None for one that no table here knows."""
    name = PROCESSOR.sub(r".\2.lora.\3.weight", name)
    for pattern, part in PARTS:
        if match := pattern.search(name):
            detail = match.groupdict().get(part)
            return TensorName(name[: match.start()], f"{part}.{detail}" if detail else part)
    return None


def foreign_format(name: str) -> str | None:
    """Return the format that a tensor's name belongs to, where the server can't compute with it."""
    return next((title for pattern, title in FOREIGN_FORMATS if pattern.search(name)), None)


def unwrapped(layer: str) -> str:
    """Return the name of a layer whole, and without what peft's own files put around every name."""
    while wrapper := next((each for each in WRAPPERS if layer.startswith(each)), None):
        layer = layer.removeprefix(wrapper)
    return CUT.sub("transformer_blocks.", layer)
