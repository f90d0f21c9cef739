"""Words with weights guide as in AUTOMATIC1111 where the text encoders take them, and are words everywhere else."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.support import tiny_models
from tests.support.factories import generation
from tests.support.tiny_engine import TinyEngine, assert_alike

# As in an engine.
pytestmark = pytest.mark.usefixtures("fast_vae")

MODELS: dict[str, Callable[[], Any]] = {
    "stable diffusion": tiny_models.tiny_stable_diffusion,
    "stable diffusion xl": tiny_models.tiny_stable_diffusion_xl,
}
PROMPT = r"a (red:1.5) house [by] the \(sea\)"
# What PROMPT consists of, written out.
PIECES = [("a ", 1.0), ("red", 1.5), (" house ", 1.0), ("by", 1 / 1.1), (" the (sea)", 1.0)]


@pytest.fixture(scope="module", params=MODELS, ids=list(MODELS))
def engine(request) -> TinyEngine:
    return TinyEngine(MODELS[request.param]())


def reference(tokenizer: Any, encoder: Any, pieces: Sequence[tuple[str, float]], *, layer: int) -> Any:
    """Return hidden states as sd_hijack_clip.py and EmphasisOriginal compute them, and the encoder's output."""
    tokens, weights = [tokenizer.bos_token_id], [1.0]
    for text, weight in pieces:
        read = tokenizer(text, add_special_tokens=False).input_ids
        tokens += read
        weights += [weight] * len(read)
    missing = tokenizer.model_max_length - len(tokens) - 1
    tokens += [tokenizer.eos_token_id] + [tokenizer.pad_token_id] * missing
    weights += [1.0] * (missing + 1)
    output = encoder(torch.tensor([tokens]), output_hidden_states=True)
    states = output[0] if layer == -1 else output.hidden_states[layer]
    before = states.mean()
    states = states * torch.tensor([weights]).reshape(1, -1, 1).expand(states.shape)
    return states * (before / states.mean()), output


def embeddings(pipeline: Any, pieces: Sequence[tuple[str, float]]) -> dict[str, torch.Tensor]:
    """Return the arguments that a plain call of the pipeline takes instead of a prompt."""
    if not hasattr(pipeline, "tokenizer_2"):
        return {"prompt_embeds": reference(pipeline.tokenizer, pipeline.text_encoder, pieces, layer=-1)[0]}
    one, _ = reference(pipeline.tokenizer, pipeline.text_encoder, pieces, layer=-2)
    two, output = reference(pipeline.tokenizer_2, pipeline.text_encoder_2, pieces, layer=-2)
    return {"prompt_embeds": torch.cat([one, two], dim=-1), "pooled_prompt_embeds": output[0]}


def test_an_image_is_that_of_automatic1111s_embeddings(engine):
    negative = "a (boat:1.3)"
    wanted = generation(PROMPT, negative_prompt=negative, true_cfg_scale=4.0, deterministic=True, emphasis=True)
    [generated] = engine.generate(wanted)
    for_negative = embeddings(engine.pipeline, [("a ", 1.0), ("boat", 1.3)])
    given = embeddings(engine.pipeline, PIECES) | {f"negative_{name}": each for name, each in for_negative.items()}
    assert (generated == engine.plain(wanted, prompt=None, negative_prompt=None, **given)).all()


def test_brackets_are_words_unless_the_request_says_otherwise(engine):
    wanted = generation(PROMPT, deterministic=True)
    [plain], [weighted] = engine.generate(wanted), engine.generate(replace(wanted, emphasis=True))
    assert (plain == engine.plain(wanted)).all()
    assert (plain != weighted).any()
    # Neither is answered with the embeddings that were kept of the other.
    assert (engine.generate(wanted)[0] == plain).all()
    assert (engine.generate(replace(wanted, emphasis=True))[0] == weighted).all()


def test_weights_of_one_change_nothing(engine):
    [plain] = engine.generate(generation("a red house", deterministic=True))
    [weighted] = engine.generate(generation("(a red house:1)", deterministic=True, emphasis=True))
    assert (plain == weighted).all()


def test_weighted_prompts_share_forwards(engine):
    wanted = [generation(PROMPT, emphasis=True), generation("(a boat:1.4)", seed=3, emphasis=True), generation("a cat")]
    together = engine.generate(*wanted)
    assert max(engine.batches) >= 3
    assert_alike(engine, wanted, together)


def test_tokens_are_those_of_the_words(engine):
    words = engine.runner.token_usage(generation("a red house by the (sea)"))
    assert engine.runner.token_usage(generation(PROMPT, emphasis=True)) == words


def test_a_prompt_longer_than_the_encoder_reads_is_cut_there(engine):
    long = "(house:1.2) " * 100
    [generated] = engine.generate(generation(long, emphasis=True))
    assert generated.shape == (64, 64, 3)
    assert "the model read the first 77" in str(engine.runner.token_usage(generation(long, emphasis=True)).warnings)


def test_other_families_read_brackets_as_words_and_say_so():
    engine = TinyEngine(tiny_models.tiny_qwen_image())
    wanted = generation(PROMPT, deterministic=True)
    assert (engine.generate(wanted)[0] == engine.generate(replace(wanted, emphasis=True))[0]).all()
    [warning] = engine.runner.token_usage(replace(wanted, emphasis=True)).warnings
    assert "emphasis such as (word:1.2) has no effect" in warning
