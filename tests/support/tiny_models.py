"""Model folders with the true classes and layout and random weights, small enough to build in a second."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    CogView4Pipeline,
    CogView4Transformer2DModel,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
    PNDMScheduler,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Sequence, Split
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    GlmConfig,
    GlmModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from imageserver.engine.downloads import Report
from imageserver.engine.models import loading, model_choice
from imageserver.engine.models.loading import LoadedModel
from imageserver.engine.pipelines.image_processor import ImageProcessor
from imageserver.settings import Settings

SPECIAL_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>",
]  # fmt: skip
HIDDEN = 32
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_qwen_image() -> QwenImagePipeline:
    """Return a Qwen-Image pipeline of 200,000 parameters; 16 pixels a token, as the real one."""
    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    vae = AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )  # fmt: skip
    transformer = QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=HIDDEN, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    pipeline = QwenImagePipeline(scheduler, vae, qwen_text_encoder(tokenizer), tokenizer, transformer)
    for part in (vae, transformer, pipeline.text_encoder):
        part.eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_tiny_qwen_image(folder: Path) -> Path:
    """Write the tiny model as `Qwen/Qwen-Image` lies on a disk, and return the folder."""
    tiny_qwen_image().save_pretrained(folder)
    return folder


def tiny_stable_diffusion(*, width: int = HIDDEN, prediction: str = "epsilon") -> StableDiffusionPipeline:
    """Return a Stable Diffusion 1.5 in small; 2.1 predicts the velocity."""
    torch.manual_seed(0)
    tokenizer = _clip_tokenizer()
    scheduler = PNDMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1,
        set_alpha_to_one=False, prediction_type=prediction,
    )  # fmt: skip
    pipeline = StableDiffusionPipeline(
        vae=_vae(), text_encoder=CLIPTextModel(_clip_config(tokenizer, width)), tokenizer=tokenizer,
        unet=_unet(cross_attention_dim=width), scheduler=scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    return quiet(pipeline)


def tiny_stable_diffusion_xl(*, second_width: int = HIDDEN) -> StableDiffusionXLPipeline:
    """Return a Stable Diffusion XL in small: two text encoders, and sizes among the UNet's conditions."""
    torch.manual_seed(0)
    tokenizer = _clip_tokenizer()
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="leading"
    )
    unet = _unet(
        cross_attention_dim=HIDDEN + second_width, addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + HIDDEN, use_linear_projection=True,
    )  # fmt: skip
    pipeline = StableDiffusionXLPipeline(
        vae=_vae(), text_encoder=CLIPTextModel(_clip_config(tokenizer, HIDDEN)),
        text_encoder_2=CLIPTextModelWithProjection(_clip_config(tokenizer, second_width)), tokenizer=tokenizer,
        tokenizer_2=tokenizer, unet=unet, scheduler=scheduler, add_watermarker=False,
    )  # fmt: skip
    return quiet(pipeline)


def tiny_cogview4() -> CogView4Pipeline:
    """Return a CogView4 in small; texts are padded to multiples of 16, as by the real one."""
    torch.manual_seed(0)
    tokenizer = letter_tokenizer("[gMASK] <sop> $A", ["<|endoftext|>", "[gMASK]", "<sop>"], padding_side="left")
    text_encoder = GlmModel(
        GlmConfig(
            vocab_size=len(tokenizer), hidden_size=HIDDEN, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, head_dim=16, pad_token_id=0, eos_token_id=0,
            max_position_embeddings=2048,
        )
    )  # fmt: skip
    transformer = CogView4Transformer2DModel(
        in_channels=4, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        text_embed_dim=HIDDEN, time_embed_dim=16, condition_dim=8,
    )  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(
        base_shift=0.25, max_shift=0.75, base_image_seq_len=256, use_dynamic_shifting=True, time_shift_type="linear"
    )
    return quiet(CogView4Pipeline(tokenizer, text_encoder, _vae(), transformer, scheduler))


def tiny_hidream() -> HiDreamImagePipeline:
    """Return a HiDream-I1-Full in small: a mixture of experts, two CLIPs, a T5 and a Llama."""
    torch.manual_seed(0)
    clip, t5, llama = _clip_tokenizer(248), _t5_tokenizer(), tiny_llama_tokenizer()
    transformer = HiDreamImageTransformer2DModel(
        patch_size=2, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        caption_channels=[HIDDEN, HIDDEN], text_emb_dim=2 * HIDDEN, axes_dims_rope=(8, 4, 4), llama_layers=[0, 1],
        max_resolution=(32, 32),
    )  # fmt: skip
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    pipeline = HiDreamImagePipeline(
        scheduler=scheduler, vae=_vae(shift_factor=0.1159),
        text_encoder=CLIPTextModelWithProjection(_clip_config(clip, HIDDEN)), tokenizer=clip,
        text_encoder_2=CLIPTextModelWithProjection(_clip_config(clip, HIDDEN)), tokenizer_2=clip,
        text_encoder_3=_t5_encoder(t5), tokenizer_3=t5, text_encoder_4=_llama(llama), tokenizer_4=llama,
        transformer=transformer,
    )  # fmt: skip
    return quiet(pipeline)


def save_tiny_hidream(folder: Path, text_encoder: Path) -> None:
    """Write the tiny model as HiDream-ai publishes it: with no file of the Llama, which lies in a folder of its own."""
    pipeline = tiny_hidream()
    pipeline.text_encoder_4.save_pretrained(text_encoder)
    pipeline.tokenizer_4.save_pretrained(text_encoder)
    pipeline.save_pretrained(folder)
    for name in ("text_encoder_4", "tokenizer_4"):
        shutil.rmtree(folder / name)


def tiny_flux(*, distilled: bool = False) -> FluxPipeline:
    """Return a FLUX.1-dev in small, or, `distilled`, a FLUX.1-schnell: a CLIP, a T5, and latents in one row."""
    torch.manual_seed(0)
    clip, t5 = _clip_tokenizer(), _t5_tokenizer()
    transformer = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=HIDDEN, pooled_projection_dim=HIDDEN, guidance_embeds=not distilled,
        axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    scheduler = (
        FlowMatchEulerDiscreteScheduler(shift=1.0)
        if distilled
        else FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    )
    pipeline = FluxPipeline(
        scheduler=scheduler, vae=_vae(shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=CLIPTextModel(_clip_config(clip, HIDDEN)), tokenizer=clip, text_encoder_2=_t5_encoder(t5),
        tokenizer_2=t5, transformer=transformer,
    )  # fmt: skip
    return quiet(pipeline)


def tiny_z_image(*, turbo: bool = False) -> ZImagePipeline:
    """Return a Z-Image in small, or a Z-Image-Turbo, which its scheduler tells apart; one Qwen3, lists of images."""
    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    text_encoder = Qwen3Model(
        Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=HIDDEN, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, head_dim=16, max_position_embeddings=2048,
        )
    )  # fmt: skip
    transformer = ZImageTransformer2DModel(
        in_channels=4, dim=HIDDEN, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=HIDDEN,
        axes_dims=[4, 6, 6],
    )  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0 if turbo else 6.0)
    return quiet(ZImagePipeline(scheduler, _vae(shift_factor=0.1159), text_encoder, tokenizer, transformer))


def tiny_qwen_image_edit(*, plus: bool = False) -> QwenImageEditPipeline | QwenImageEditPlusPipeline:
    """Return a Qwen-Image-Edit, or a 2511, in small; 64 pixels a token, as it reads every image at a megapixel."""
    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    vae = AutoencoderKLQwenImage(
        base_dim=4, z_dim=4, dim_mult=[1] * 6, num_res_blocks=1, temperal_downsample=[False] * 4 + [True],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )  # fmt: skip
    transformer = QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=HIDDEN, axes_dims_rope=(4, 6, 6), zero_cond_t=plus,
    )  # fmt: skip
    kind = QwenImageEditPlusPipeline if plus else QwenImageEditPipeline
    pipeline = kind(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), vae=vae,
        text_encoder=qwen_text_encoder(tokenizer), tokenizer=tokenizer,
        # Beyond this it makes an image smaller for the text encoder.
        processor=ImageProcessor(Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=112 * 112), tokenizer),
        transformer=transformer,
    )  # fmt: skip
    return quiet(pipeline)


def save_tiny_qwen_image_edit(folder: Path, *, plus: bool = False) -> None:
    save_as_published(tiny_qwen_image_edit(plus=plus), folder)


def save_as_published(pipeline: Any, folder: Path, processor: str = "Qwen2VLProcessor") -> None:
    """Write a tiny model as Qwen publishes it, with transformers' own processor."""
    pipeline.save_pretrained(folder)
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"processor": ["transformers", processor]}))


def quiet(pipeline: Any) -> Any:
    """Return a pipeline with its parts in inference mode and without a bar."""
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _unet(**options: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=8, in_channels=4, out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4, attention_head_dim=4, **options,
    )  # fmt: skip


def _vae(**options: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=[8, 8, 8, 8], down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4, latent_channels=4, norm_num_groups=4, **options,
    )  # fmt: skip


def _clip_tokenizer(length: int = 77) -> CLIPTokenizer:
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[], model_max_length=length)


def _clip_config(tokenizer: CLIPTokenizer, width: int) -> CLIPTextConfig:
    ids = tokenizer.get_vocab()
    return CLIPTextConfig(
        vocab_size=len(ids), hidden_size=width, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length, projection_dim=HIDDEN, bos_token_id=ids["<|startoftext|>"],
        eos_token_id=ids["<|endoftext|>"], pad_token_id=ids["<|endoftext|>"],
    )  # fmt: skip


def _t5_tokenizer() -> T5Tokenizer:
    pieces = ["<pad>", "</s>", "<unk>", "\u2581", *(chr(code) for code in range(33, 127))]
    return T5Tokenizer(vocab=[(piece, -1.0) for piece in pieces], extra_ids=0, model_max_length=512)


def _t5_encoder(tokenizer: T5Tokenizer) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer), d_model=HIDDEN, d_kv=16, d_ff=37, num_layers=2, num_heads=2,
            feed_forward_proj="gated-gelu",
        )
    )  # fmt: skip


def tiny_llama_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer of the tiny HiDream's Llama; as in the real one, no token is meant for padding."""
    return letter_tokenizer("<|begin_of_text|> $A", ["<|eot_id|>", "<|begin_of_text|>"])


def _llama(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=HIDDEN, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=2048, bos_token_id=1, eos_token_id=0,
        )
    )  # fmt: skip


def letter_tokenizer(template: str, special: list[str], **options: Any) -> PreTrainedTokenizerFast:
    """Return a tokenizer of one token a byte; `special` begins with the padding, `template` is around every text."""
    tokens = special + sorted(ByteLevel.alphabet())
    tokenizer = Tokenizer(WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=special[0]))
    tokenizer.pre_tokenizer = Sequence([ByteLevel(add_prefix_space=False, use_regex=False), Split("", "isolated")])
    tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=[(token, index) for index, token in enumerate(special)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=special[0], eos_token=special[0], model_max_length=2048, **options
    )


def byte_tokenizer() -> Qwen2Tokenizer:
    """Return a Qwen tokenizer of one token a byte."""
    vocabulary = {character: index for index, character in enumerate(sorted(ByteLevel.alphabet()))}
    for token in SPECIAL_TOKENS:
        vocabulary[token] = len(vocabulary)
    return Qwen2Tokenizer(
        vocab=vocabulary, merges=[], model_max_length=2048, additional_special_tokens=SPECIAL_TOKENS[1:]
    )


def qwen_text_encoder(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLForConditionalGeneration:
    ids = tokenizer.get_vocab()
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={
                "vocab_size": len(ids), "hidden_size": HIDDEN, "intermediate_size": 64, "num_hidden_layers": 2,
                "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 2048,
                "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]},
                "bos_token_id": ids["<|endoftext|>"], "eos_token_id": ids["<|im_end|>"],
                "pad_token_id": ids["<|endoftext|>"],
            },
            vision_config={
                "depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": HIDDEN,
                "fullatt_block_indexes": [0],
            },
            image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
            vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
        )
    )  # fmt: skip


def silent(phase: str, sentence: str, fraction: float | None) -> None:
    """Report to nobody."""


def load(settings: Settings, report: Report = silent) -> LoadedModel:
    """Return the model of the settings, found and loaded."""
    return loading.load(model_choice.find(settings, report), report)
