"""Train the byte-level BPE; Qwen-Image's chat template must come out as exactly 34 + 5 tokens around the prompt."""

import json
import random
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from tools.demo import vocabulary
from tools.demo.captions import sample_caption
from tools.demo.words import ADJECTIVES, BAD_QUALITY, NOUNS, STYLES, SURROUNDINGS

# The template of diffusers' QwenImagePipeline, which drops the first 34 tokens of the encoded prompt.
PREFIX = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial "
    "relationships of the objects and background:<|im_end|>\n<|im_start|>user\n"
)
SUFFIX = "<|im_end|>\n<|im_start|>assistant\n"
PREFIX_TOKENS, SUFFIX_TOKENS = 34, 5
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
WORD_TABLES = (
    vocabulary.COLOUR_WORDS,
    vocabulary.KIND_WORDS,
    vocabulary.LANDSCAPE_WORDS,
    vocabulary.PLACE_WORDS,
    vocabulary.SIZE_WORDS,
    vocabulary.CHINESE_COLOURS,
    vocabulary.CHINESE_KINDS,
    vocabulary.CHINESE_LANDSCAPES,
    vocabulary.CHINESE_PLACES,
    vocabulary.CHINESE_SIZES,
)


def _corpus(captions: int) -> list[str]:
    generator = random.Random(5)
    template = PREFIX + SUFFIX
    for token in SPECIAL:
        template = template.replace(token, "")
    words = [word for table in WORD_TABLES for name, others in table.items() for word in (name, *others)]
    words += [*ADJECTIVES, *NOUNS, *STYLES, *BAD_QUALITY, *SURROUNDINGS]
    forms = [form for word in words for form in (word, f" {word}", word.capitalize())]
    return [*(sample_caption(generator)[0] for _ in range(captions)), *[template] * 3000, *forms * 40]


def train_tokenizer(size: int = 2048, captions: int = 40_000) -> Any:
    """Train the tokenizer on captions and the template; any text in any language tokenises, byte by byte at worst."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated", invert=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
        min_frequency=15,
    )
    bpe.train_from_iterator(_corpus(captions), trainer)
    model = json.loads(bpe.to_str())["model"]
    names: dict[str, int] = model["vocab"]
    merges: Any = [tuple(merge if isinstance(merge, list) else merge.split(" ")) for merge in model["merges"]]
    for token in SPECIAL:
        names[token] = len(names)
    tokenizer = Qwen2Tokenizer(
        vocab=names, merges=merges, model_max_length=2048, additional_special_tokens=list(SPECIAL[1:])
    )
    check_template(tokenizer)
    return tokenizer


def check_template(tokenizer: Qwen2Tokenizer) -> None:
    """Raise ValueError unless the template has the token counts that the pipeline relies on."""
    counts = len(tokenizer(PREFIX).input_ids), len(tokenizer(SUFFIX).input_ids)
    if counts != (PREFIX_TOKENS, SUFFIX_TOKENS):
        raise ValueError(f"the template has {counts} tokens instead of {(PREFIX_TOKENS, SUFFIX_TOKENS)}")


def load_tokenizer(folder: Path) -> Any:
    """Load a saved tokenizer."""
    return Qwen2Tokenizer.from_pretrained(folder)
