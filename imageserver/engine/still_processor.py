"""Qwen2-VL's processor for texts and still pictures: transformers' own wants torchvision, for films.

Source: transformers `processing_qwen2_vl.py` (5.23).
"""

from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, Qwen2VLImageProcessorPil, Qwen2VLProcessor
from transformers.processing_utils import ProcessorMixin

IMAGE_TOKEN, VIDEO_TOKEN = "<|image_pad|>", "<|video_pad|>"


class StillProcessor(Qwen2VLProcessor):  # type: ignore[misc, unused-ignore]
    """What its parent is, without the part for films."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
        """Take the parts; transformers learns from these names which there are."""
        self.image_token, self.video_token = IMAGE_TOKEN, VIDEO_TOKEN
        self.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
        self.video_token_id = tokenizer.convert_tokens_to_ids(VIDEO_TOKEN)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def load_still_processor(folder: Path) -> StillProcessor:
    """Return the processor that a model's folder of that name describes; raises OSError where there is none."""
    parts = (
        kind.from_pretrained(str(folder), local_files_only=True) for kind in (Qwen2VLImageProcessorPil, AutoTokenizer)
    )
    return StillProcessor(*parts)
