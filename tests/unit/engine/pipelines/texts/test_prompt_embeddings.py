"""Prompts are encoded once, common negative prompts are never forgotten, and nothing changes by it."""

import torch

from imageserver.engine.pipelines.texts.prompt_embeddings import EmbeddingCache, Encoded


class CountingEncoder:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, text: str) -> Encoded:
        self.texts.append(text)
        return torch.full((1, 2, 3), float(len(text))), torch.ones(1, 2)


def test_a_prompt_is_encoded_once_and_comes_back_the_same() -> None:
    cache, encode = EmbeddingCache(4), CountingEncoder()
    first = cache.get("a cat", encode)
    assert cache.get("a cat", encode) is first
    assert encode.texts == ["a cat"]


def test_the_least_recently_used_prompt_is_forgotten_first() -> None:
    cache, encode = EmbeddingCache(2), CountingEncoder()
    for text in ("one", "two", "one", "three", "one", "two"):
        cache.get(text, encode)
    assert encode.texts == ["one", "two", "three", "two"]


def test_a_pinned_negative_prompt_survives_any_number_of_prompts() -> None:
    cache, encode = EmbeddingCache(2), CountingEncoder()
    cache.get(" ", encode, pinned=True)
    for number in range(20):
        cache.get(f"prompt {number}", encode)
    cache.get(" ", encode, pinned=True)
    assert encode.texts.count(" ") == 1
