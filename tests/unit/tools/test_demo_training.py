"""The demo model's recipe in miniature: exact encoder, template tokens, training that resumes, one command."""

import sys
from pathlib import Path

import pytest
import torch

from tools.demo.autoencoder import FULL, cell_means, initialise_decoder, make_autoencoder, write_encoder
from tools.demo.codes import WIDTH, CodeBook
from tools.demo.latents import SQUARE, draw_all, draw_batch, to_latents, to_thumbnails
from tools.demo.muon import orthogonalise
from tools.demo.tokenizer import PREFIX, PREFIX_TOKENS, SUFFIX, SUFFIX_TOKENS, train_tokenizer
from tools.demo.train_text import TextPlan, TextTraining
from tools.demo.train_transformer import LATENT_MEAN, LATENT_STD, TransformerPlan, TransformerTraining, forget
from tools.train_demo_model import STAGES, read_arguments


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "tokenizer"
    train_tokenizer(captions=4000).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "scenes.pt"
    thumbnails, described = draw_batch(1, 12, SQUARE)
    torch.save({SQUARE: (torch.from_numpy(thumbnails), torch.from_numpy(described))}, path)
    return path


def test_the_written_encoder_is_exact_even_in_float16() -> None:
    model = make_autoencoder(FULL, LATENT_MEAN, LATENT_STD)
    initialise_decoder(model)
    write_encoder(model)
    model.half().float().eval()
    images = torch.rand(1, 3, 128, 192, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        latents = model.encode(images.unsqueeze(2)).latent_dist.mode()
        decoded = model.decode(latents).sample
    assert (latents - cell_means(images, 16)).abs().max() < 1e-5
    assert decoded.shape == (1, 3, 1, 128, 192)


def test_latents_and_thumbnails_are_the_same_thing() -> None:
    thumbnails = torch.from_numpy(draw_batch(3, 2, (6, 4))[0])
    tokens = to_latents(thumbnails)
    assert tokens.shape == (2, 24, 48)
    assert torch.equal(to_thumbnails(tokens, (6, 4)), thumbnails)


def test_latents_are_what_the_encoder_gives() -> None:
    thumbnail = torch.from_numpy(draw_batch(5, 1, (2, 2))[0])
    image = thumbnail.float().div(127.5).sub(1).permute(0, 3, 1, 2).repeat_interleave(16, 2).repeat_interleave(16, 3)
    latents = cell_means(image, 16)[:, :, 0]
    packed = latents.view(1, 12, 2, 2, 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, 4, 48)
    assert torch.allclose(packed, to_latents(thumbnail), atol=1e-6)


def test_the_template_has_34_tokens_and_any_language_tokenises(tokenizer_folder: Path) -> None:
    from tools.demo.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(tokenizer_folder)
    for prompt in ("", " ", "a red circle", "\nnewline", "一只猫", "Ünïcödé 🐈", "x" * 300):
        ids = tokenizer(PREFIX + prompt + SUFFIX).input_ids
        assert ids[:PREFIX_TOKENS] == tokenizer(PREFIX).input_ids or prompt.startswith("\n")
        assert ids[-SUFFIX_TOKENS:] == tokenizer(SUFFIX).input_ids
    assert tokenizer.decode(tokenizer("一只猫 🐈").input_ids) == "一只猫 🐈"


def test_forgetting_leaves_a_tenth_unconditional_and_never_invents() -> None:
    torch.manual_seed(0)
    told = torch.from_numpy(draw_batch(7, 400, SQUARE)[1]).long()
    left = forget(told)
    null = (left == 0).flatten(1).all(1)
    assert 0.05 < null.float().mean() < 0.16
    changed = (left != told) & ~null[:, None, None]
    assert set(left[changed].unique().tolist()) <= {0, 2}


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    matrices = torch.randn(2, 24, 40, generator=torch.Generator().manual_seed(2))
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert values.min() > 0.5
    assert values.max() < 1.4


def test_transformer_training_resumes_where_it_stopped(scenes: Path, tmp_path: Path) -> None:
    plan = TransformerPlan(minutes=0.02, batch=2, layers=1, heads=2, other_grids=0.0, compiled=False)
    first = TransformerTraining(plan, scenes, tmp_path / "transformer.pt", 0, 1, "cpu")
    first.run()
    assert first.step > 0
    longer = TransformerPlan(minutes=0.04, batch=2, layers=1, heads=2, other_grids=0.0, compiled=False)
    second = TransformerTraining(longer, scenes, tmp_path / "transformer.pt", 0, 1, "cpu")
    assert (second.step, second.used) == (first.step, first.used)
    assert all(torch.equal(a, b) for a, b in zip(first.averaged, second.averaged, strict=True))
    second.run()
    assert second.step > first.step


def test_text_training_resumes_where_it_stopped(tokenizer_folder: Path, tmp_path: Path) -> None:
    first = TextTraining(TextPlan(minutes=0.02, batch=4), tokenizer_folder, tmp_path / "text.pt")
    first.run()
    second = TextTraining(TextPlan(minutes=0.02, batch=4), tokenizer_folder, tmp_path / "text.pt")
    assert second.step == first.step > 0
    states = second.hidden(torch.zeros(2, 7, dtype=torch.long))
    assert states.shape == (2, 7, WIDTH)


def test_the_shared_prefix_gives_the_same_states_as_the_whole_prompt(tokenizer_folder: Path, tmp_path: Path) -> None:
    training = TextTraining(TextPlan(minutes=0.01), tokenizer_folder, tmp_path / "text.pt")
    tokens = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        whole = training.model(torch.cat([training.prefix, tokens], 1), output_hidden_states=True).hidden_states[-1]
        assert torch.allclose(training.hidden(tokens), whole[:, PREFIX_TOKENS:], atol=1e-4)


def test_codes_of_a_sequence_begin_with_the_anchor_and_end_with_the_slots() -> None:
    book = CodeBook()
    told = torch.zeros(1, 4, 4, dtype=torch.long)
    sequence = book.sequence(told, 3)[0]
    assert torch.equal(sequence[0], book.anchor)
    assert torch.equal(sequence[2], book.filler)
    assert torch.equal(sequence[3:], book.slots(told)[0])


def test_drawing_all_grids_uses_every_grid(tmp_path: Path) -> None:
    draw_all(tmp_path / "scenes.pt", 1, 4, 1, 1, 1)
    drawn = torch.load(tmp_path / "scenes.pt")
    assert len(drawn) > 30
    assert all(len(thumbnails) == len(described) for thumbnails, described in drawn.values())


def test_the_command_line_refuses_unknown_stages(capsys: pytest.CaptureFixture[str]) -> None:
    recipe, stages = read_arguments(["--minutes", "3", "--stages", "tokenizer,text"])
    assert stages == ["tokenizer", "text"]
    assert recipe.stage_minutes("transformer") == pytest.approx(2.1)
    with pytest.raises(SystemExit):
        read_arguments(["--stages", "paint"])
    assert "unknown stages: paint" in capsys.readouterr().err
    assert STAGES[-1] == "evaluate"
    assert "tools.demo.train_text" in sys.modules
