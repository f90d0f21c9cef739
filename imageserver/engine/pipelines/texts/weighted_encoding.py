"""Embeddings of a prompt whose words have weights, by a pipeline with one or two CLIP text encoders.

Source: stable-diffusion-webui 1.10, `modules/sd_hijack_clip.py` and `EmphasisOriginal` of `modules/sd_emphasis.py`.
"""

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers import BatchEncoding

from imageserver.engine.pipelines.texts.emphasis import Piece, pieces_of
from imageserver.engine.pipelines.texts.prompt_embeddings import Encoded
from imageserver.engine.pipelines.types import Pipeline

# The components of a pipeline, in the order in which it joins their embeddings.
TOKENIZERS, ENCODERS = ("tokenizer", "tokenizer_2"), ("text_encoder", "text_encoder_2")


class PieceTokenizer:
    """A tokenizer of one prompt, whatever it is called with: it returns the tokens of its pieces, each read by itself.

    `weights` are those of its tokens: 1 for the first, the last and what fills up.
    """

    def __init__(self, tokenizer: Any, pieces: Sequence[Piece]) -> None:
        self._tokenizer = tokenizer
        room = tokenizer.model_max_length - 2
        # No more: a prompt may have thousands of pieces.
        read = list(itertools.islice(_tokens_of(tokenizer, pieces), room))
        filling = room - len(read)
        ends = [tokenizer.eos_token_id, *[tokenizer.pad_token_id] * filling]
        self._encoding = BatchEncoding(
            {
                "input_ids": torch.tensor([[tokenizer.bos_token_id, *(token for token, _ in read), *ends]]),
                "attention_mask": torch.tensor([[1] * (len(read) + 2) + [0] * filling]),
            }
        )
        self.weights = torch.tensor([1.0, *(weight for _, weight in read), *[1.0] * len(ends)])

    def __call__(self, *_: Any, **__: Any) -> BatchEncoding:
        return self._encoding

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


def _tokens_of(tokenizer: Any, pieces: Sequence[Piece]) -> Iterator[tuple[int, float]]:
    for text, weight in pieces:
        if text.strip():
            for token in tokenizer(text, add_special_tokens=False, verbose=False).input_ids:
                yield token, weight


def encode_weighted(pipeline: Pipeline, text: str, encode: Callable[[Pipeline, str], Encoded]) -> Encoded:
    """Return what `encode` returns for a prompt, its first tensor weighted token by token.

    The mean of each encoder's embeddings stays as it was.
    """
    reader, pieces = copy.copy(pipeline), pieces_of(text)
    weighted: list[torch.Tensor] = []
    widths, weights = [], []
    for tokenizer_name, encoder_name in zip(TOKENIZERS, ENCODERS, strict=True):
        tokenizer = getattr(pipeline, tokenizer_name, None)
        if tokenizer is not None:
            own = PieceTokenizer(tokenizer, pieces)
            setattr(reader, tokenizer_name, own)
            widths.append(getattr(pipeline, encoder_name).config.hidden_size)
            weights.append(own.weights)
    embeddings, *rest = encode(reader, text)
    for part, own_weights in zip(embeddings.split(widths, dim=-1), weights, strict=True):
        stock = part.float()
        changed = stock * own_weights.to(part.device)[:, None]
        weighted.append((changed * (stock.mean() / changed.mean())).to(part.dtype))
    return (torch.cat(weighted, dim=-1), *rest)
