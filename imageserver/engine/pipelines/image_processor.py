"""The processors of Qwen2-VL and Qwen3-VL for texts and still images: transformers' own need torchvision, for videos.

Source: transformers `processing_qwen2_vl.py`, `processing_qwen3_vl.py` (5.23).
"""

from pathlib import Path
from typing import Any, TypeVar

from transformers import AutoTokenizer, Qwen2VLImageProcessorPil, Qwen2VLProcessor, Qwen3VLProcessor
from transformers.processing_utils import ProcessorMixin

IMAGE_TOKEN, VIDEO_TOKEN = "<|image_pad|>", "<|video_pad|>"

P = TypeVar("P", bound=ProcessorMixin)


class _WithoutVideos(ProcessorMixin):  # type: ignore[misc, unused-ignore]
    """Constructs a processor of Qwen without the part for videos."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
        """Store the parts; transformers reads their names from these parameters."""
        self.image_token, self.video_token = IMAGE_TOKEN, VIDEO_TOKEN
        self.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
        self.video_token_id = tokenizer.convert_tokens_to_ids(VIDEO_TOKEN)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


class ImageProcessor(_WithoutVideos, Qwen2VLProcessor):  # type: ignore[misc, unused-ignore]
    """Reads texts and still images for Qwen2-VL."""


class ImageProcessor3(_WithoutVideos, Qwen3VLProcessor):  # type: ignore[misc, unused-ignore]
    """Reads texts and still images for Qwen3-VL."""


def load_image_processor(folder: Path, kind: type[P]) -> P:
    """Return the processor that a model's folder describes; raises OSError where it does not exist."""
    images = Qwen2VLImageProcessorPil.from_pretrained(str(folder), local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    described, _ = kind.get_processor_dict(str(folder), local_files_only=True)
    processor: P = kind(images, tokenizer, chat_template=described.get("chat_template") or tokenizer.chat_template)
    return processor


def cut(tokenizer: Any, text: str, most: int) -> str:
    """Return the text truncated to the model's limit, beyond which some pipelines would run out of positions."""
    tokens = tokenizer(text, truncation=False, verbose=False).input_ids
    return text if len(tokens) <= most else str(tokenizer.decode(tokens[:most]))
