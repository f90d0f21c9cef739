"""The embedded demo model as shipped: a stock folder, small, and able to generate what its card promises."""

from pathlib import Path

import pytest

import imageserver
from tools.demo.evaluate import held_out_singles, judge_single, score_landscapes, score_pairs, share
from tools.demo.stock_pipeline import MAGIC, ImageOptions, StockPipeline, pixels
from tools.demo.tokenizer import PREFIX, PREFIX_TOKENS
from tools.demo.vocabulary import SHAPES, SUBJECTS

FOLDER = Path(imageserver.__file__).parent / "demo_model"
MIB = 2**20


@pytest.fixture(scope="module")
def stock() -> StockPipeline:
    return StockPipeline(FOLDER)


def test_the_folder_is_small_and_holds_only_safetensors() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 30 * MIB
    assert max(path.stat().st_size for path in files) < 5 * MIB
    assert not [path for path in files if path.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl")]
    assert (FOLDER / "README.md").exists()
    assert (FOLDER / "evaluation.json").exists()


def test_the_stock_pipeline_loads_with_the_template_it_expects(stock: StockPipeline) -> None:
    classes = {name: type(part).__name__ for name, part in stock.pipeline.components.items()}
    assert classes == {
        "scheduler": "FlowMatchEulerDiscreteScheduler",
        "text_encoder": "Qwen2_5_VLForConditionalGeneration",
        "tokenizer": "Qwen2Tokenizer",
        "transformer": "QwenImageTransformer2DModel",
        "vae": "AutoencoderKLQwenImage",
    }
    assert (
        len(stock.pipeline.tokenizer(PREFIX).input_ids)
        == PREFIX_TOKENS
        == stock.pipeline.prompt_template_encode_start_idx
    )


def test_shapes_and_colours_follow_held_out_words(stock: StockPipeline) -> None:
    wanted = held_out_singles(SHAPES, 3, 77)
    images = stock.generate([item.prompt + MAGIC for item in wanted], list(range(77, 77 + len(wanted))))
    judged = [judge_single(image, item, SHAPES) for image, item in zip(images, wanted, strict=True)]
    assert share([item["background_colour"] for item in judged]) >= 0.95
    assert share([item["object_colour"] for item in judged]) >= 0.95
    assert share([item["kind"] for item in judged]) >= 0.85


def test_subjects_are_recognised(stock: StockPipeline) -> None:
    wanted = held_out_singles(SUBJECTS, 1, 78)
    images = stock.generate([item.prompt for item in wanted], list(range(78, 78 + len(wanted))))
    judged = [judge_single(image, item, SUBJECTS) for image, item in zip(images, wanted, strict=True)]
    assert share([item["kind"] for item in judged]) >= 0.8


def test_things_stand_where_the_words_say(stock: StockPipeline) -> None:
    score = score_pairs(stock, 16, "", 79)
    assert score["left_right"] >= 0.85
    assert score["above_below"] >= 0.85


def test_landscapes_are_recognised(stock: StockPipeline) -> None:
    assert score_landscapes(stock, 1, "", 80)["landscape"] >= 0.85


def test_seed_negative_prompt_and_guidance_matter(stock: StockPipeline) -> None:
    prompt = "a red circle on a blue background"
    first, again, other = stock.generate([prompt] * 3, [1, 1, 2])
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()
    weak = stock.generate([prompt], [1], ImageOptions(guidance=1.0))[0]
    plain, avoided = (
        stock.generate(["a circle"], [3], ImageOptions(negative=text))[0] for text in (" ", "blue background")
    )
    for one, two in ((first, weak), (plain, avoided)):
        assert abs(pixels(one) - pixels(two)).mean() > 0.5


@pytest.mark.parametrize("size", [(1472, 1140), (928, 1664)])
def test_large_sizes_are_exact_and_show_one_object(stock: StockPipeline, size: tuple[int, int]) -> None:
    wanted = held_out_singles(("circle",), 1, 81)[0]
    image = stock.generate([wanted.prompt], [81], ImageOptions(*size))[0]
    assert image.size == size
    judged = judge_single(image, wanted, SHAPES)
    assert judged["object_colour"]
    assert judged["background_colour"]
