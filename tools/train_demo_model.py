"""Train the embedded demo model from nothing: draw, tokenise, train, evaluate, export.

    python tools/train_demo_model.py                        about 150 minutes on two CPU cores, minutes on a GPU
    python tools/train_demo_model.py --minutes 300          better images
    python tools/train_demo_model.py --stages decoder,export --work build/demo_model

Every stage leaves a checkpoint in the working folder and goes on from it: the same command continues an interrupted
run, and a larger `--minutes` trains a finished one further. `docs/demo_model.md` tells what the stages do.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

STAGES = ("scenes", "tokenizer", "text", "transformer", "decoder", "export", "evaluate")
# Shares of the minutes; drawing, evaluation and export come on top and take about ten minutes on two CPU cores.
SHARES = {"text": 0.12, "transformer": 0.7, "decoder": 0.18}


@dataclass(frozen=True)
class Recipe:
    """What one run of the recipe works with."""

    work: Path
    output: Path
    minutes: float
    device: str
    seed: int
    processes: int
    scenes: int
    batch: int
    compiled: bool

    @property
    def threads(self) -> int:
        """Return the threads of one training process."""
        return max(1, (os.cpu_count() or 2) // self.processes)

    def stage_minutes(self, stage: str) -> float:
        """Return the budget of one training stage."""
        return self.minutes * SHARES[stage]


def draw_scenes(recipe: Recipe) -> None:
    """Draw the transformer's training images."""
    from tools.demo.latents import draw_all

    path = recipe.work / "scenes.pt"
    if not path.exists():
        draw_all(
            path,
            recipe.seed,
            recipe.scenes,
            max(2, recipe.scenes // 60),
            max(2, recipe.scenes // 160),
            os.cpu_count() or 2,
        )


def train_tokenizer(recipe: Recipe) -> None:
    """Train the tokenizer."""
    from tools.demo.tokenizer import train_tokenizer as train

    if not (recipe.work / "tokenizer").exists():
        train().save_pretrained(recipe.work / "tokenizer")


def train_text(recipe: Recipe) -> None:
    """Train the text encoder to write slot codes."""
    from tools.demo.train_text import TextPlan, TextTraining

    plan = TextPlan(recipe.stage_minutes("text"), threads=os.cpu_count() or 2, seed=recipe.seed)
    TextTraining(plan, recipe.work / "tokenizer", recipe.work / "text.pt", recipe.device).run()


def train_transformer(recipe: Recipe) -> None:
    """Train the transformer in one or more processes."""
    from torch.multiprocessing.spawn import spawn

    from tools.demo.train_transformer import TransformerPlan, train_process

    plan = TransformerPlan(
        recipe.stage_minutes("transformer"), batch=recipe.batch, compiled=recipe.compiled, seed=recipe.seed
    )
    with tempfile.TemporaryDirectory() as meeting:
        arguments = (
            recipe.processes,
            plan,
            recipe.work / "scenes.pt",
            recipe.work / "transformer.pt",
            recipe.device,
            recipe.threads,
            str(Path(meeting) / "meeting"),
        )
        if recipe.processes == 1:
            train_process(0, *arguments)
        else:
            spawn(train_process, arguments, nprocs=recipe.processes)


def train_decoder(recipe: Recipe) -> None:
    """Train the decoder of the VAE."""
    from tools.demo.train_decoder import DecoderPlan, DecoderTraining

    plan = DecoderPlan(recipe.stage_minutes("decoder"), threads=os.cpu_count() or 2, seed=recipe.seed)
    DecoderTraining(plan, recipe.work / "decoder.pt", recipe.device).run()


def export(recipe: Recipe) -> None:
    """Write the diffusers folder."""
    from tools.demo.export import assemble
    from tools.demo.export import export as write

    work = recipe.work
    pipeline = assemble(work / "tokenizer", work / "text.pt", work / "transformer.pt", work / "decoder.pt")
    print(f"{write(pipeline, recipe.output):.1f} MiB in {recipe.output}")


def evaluate(recipe: Recipe) -> None:
    """Score the exported model, write its card and draw its contact sheets."""
    from tools.demo.card import write_card
    from tools.demo.evaluate import evaluate as score
    from tools.demo.sheets import draw_sheets
    from tools.demo.stock_pipeline import StockPipeline

    scores = score(recipe.output)
    write_card(recipe.output, scores)
    draw_sheets(StockPipeline(recipe.output), recipe.work / "sheets")


RUNNERS: dict[str, Callable[[Recipe], None]] = {
    "scenes": draw_scenes,
    "tokenizer": train_tokenizer,
    "text": train_text,
    "transformer": train_transformer,
    "decoder": train_decoder,
    "export": export,
    "evaluate": evaluate,
}


def read_arguments(arguments: list[str] | None = None) -> tuple[Recipe, list[str]]:
    """Read the command line: a recipe and the stages to run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=140, help="training time in all (default: 140)")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "demo_model", help="checkpoints and sheets")
    parser.add_argument("--output", type=Path, help="model folder (default: WORK/model; ship it by hand)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stages", default=",".join(STAGES), help=f"comma separated, of {', '.join(STAGES)}")
    parser.add_argument("--processes", type=int, help="transformer processes (default: one per CPU core, two at most)")
    parser.add_argument("--scenes", type=int, default=110_000, help="images of 512 x 512 to draw (default: 110000)")
    parser.add_argument("--batch", type=int, help="images per process and step (default: 24 on a CPU, 256 on a GPU)")
    parser.add_argument("--no-compile", action="store_true", help="train without torch.compile (no compiler needed)")
    given = parser.parse_args(arguments)
    stages = [stage for stage in given.stages.split(",") if stage]
    unknown = sorted(set(stages) - set(STAGES))
    if unknown:
        parser.error(f"unknown stages: {', '.join(unknown)}")
    on_cpu = given.device == "cpu"
    recipe = Recipe(
        work=given.work,
        output=given.output or given.work / "model",
        minutes=given.minutes,
        device=given.device,
        seed=given.seed,
        processes=given.processes or (min(2, os.cpu_count() or 1) if on_cpu else 1),
        scenes=given.scenes,
        batch=given.batch or (24 if on_cpu else 256),
        compiled=not given.no_compile,
    )
    return recipe, stages


def main(arguments: list[str] | None = None) -> None:
    """Run the chosen stages in order."""
    recipe, stages = read_arguments(arguments)
    recipe.work.mkdir(parents=True, exist_ok=True)
    for stage in STAGES:
        if stage in stages:
            print(f"== {stage}", flush=True)
            RUNNERS[stage](recipe)


if __name__ == "__main__":
    main()
