"""Train the decoder: first its inner part on small images, then the whole on full-resolution crops around edges."""

import math
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from imageserver.engine.pipelines.decoding import single_frame_vae
from tools.demo.autoencoder import (
    FULL,
    INNER,
    cell_means,
    decode,
    grow,
    initialise_decoder,
    make_autoencoder,
    write_encoder,
)
from tools.demo.networks import Model
from tools.demo.progress import TrainingProgress
from tools.demo.rendering import render
from tools.demo.scenes import sample_scene
from tools.demo.train_transformer import LATENT_MEAN, LATENT_STD

SIZES = ((512, 512),) * 5 + ((704, 384), (384, 704), (1344, 1344), (1664, 960), (960, 1664), (1472, 1152), (1600, 1088))


@dataclass(frozen=True)
class DecoderPlan:
    """How the decoder is trained; the inner part gets `inner_share` of the minutes."""

    minutes: float
    inner_share: float = 0.35
    crops: int = 6000
    rate_inner: float = 3e-3
    rate_full: float = 2.5e-3
    threads: int = 1
    workers: int = 2
    seed: int = 3


@dataclass(frozen=True)
class TrainingStage:
    """One of the two halves of the training."""

    inner: bool
    crop: int
    batch: int
    box: int
    gradient_weight: float


INNER_STAGE = TrainingStage(inner=True, crop=256, batch=12, box=4, gradient_weight=1.0)
FULL_STAGE = TrainingStage(inner=False, crop=192, batch=6, box=16, gradient_weight=2.0)


def draw_crops(seed: int, count: int, inner: bool) -> np.ndarray:
    """Draw `count` crops of scenes at all sizes, mostly around the edges of objects; (count, side, side, 3) uint8."""
    generator, crops = random.Random(seed), []
    side = INNER_STAGE.crop if inner else FULL_STAGE.crop
    for _ in range(count):
        scene = sample_scene(generator)
        width, height = generator.choice(SIZES)
        x, y = generator.uniform(0, width), generator.uniform(0, height)
        if scene.things and generator.random() < 0.85:
            thing = generator.choice(scene.things)
            reach = thing.radius * min(width, height)
            x = thing.x * width + generator.uniform(-1, 1) * reach
            y = thing.y * height + generator.uniform(-1, 1) * reach
        left = int(min(max(x - side / 2, 0), width - side))
        top = int(min(max(y - side / 2, 0), height - side))
        # The inner part sees whole pixels of an image four times smaller.
        image = render(scene, width, height, (left, top, side, side), 1 if inner else 2)
        crops.append(np.asarray(image.reduce(4) if inner else image))
    return np.stack(crops)


def to_signal(crops: torch.Tensor) -> torch.Tensor:
    """Turn uint8 (n, h, w, 3) crops into (n, 3, h, w) in [-1, 1]."""
    return crops.permute(0, 3, 1, 2).float().div(127.5).sub(1)


def losses(difference: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the mean absolute, gradient and square errors."""
    horizontal = (difference[..., 1:] - difference[..., :-1]).abs().mean()
    vertical = (difference[..., 1:, :] - difference[..., :-1, :]).abs().mean()
    return difference.abs().mean(), horizontal + vertical, difference.square().mean()


def psnr(square_error: float) -> float:
    """Return the peak signal-to-noise ratio in dB of signals in [-1, 1]."""
    return 10 * math.log10(4 / square_error)


class DecoderTraining:
    """Both stages of the decoder, resumable between and inside them."""

    def __init__(self, plan: DecoderPlan, output: Path, device: str = "cpu", start: Path | None = None) -> None:
        self.plan, self.output, self.device, self.start = plan, output, device, start
        single_frame_vae.install()
        torch.manual_seed(plan.seed)

    def run(self) -> None:
        """Train what is not trained yet; write the whole VAE's weights."""
        full = make_autoencoder(FULL, LATENT_MEAN, LATENT_STD)
        initialise_decoder(full)
        write_encoder(full)
        share = self.plan.inner_share
        if self.start:
            full.load_state_dict(torch.load(self.start))
        else:
            inner = make_autoencoder(INNER, LATENT_MEAN, LATENT_STD)
            initialise_decoder(inner)
            self._train(inner, INNER_STAGE, self.output.with_suffix(".inner.pt"), self.plan.minutes * share)
            grow(inner, full)
        self._train(full, FULL_STAGE, self.output, self.plan.minutes * (1.0 if self.start else 1 - share))

    def _crops(self, stage: TrainingStage) -> tuple[torch.Tensor, torch.Tensor]:
        chunk = 50
        jobs = self.plan.crops * (3 if stage.inner else 1) // chunk + 2
        with ProcessPoolExecutor(self.plan.workers) as pool:
            seeds = range(self.plan.seed * 100_000, self.plan.seed * 100_000 + jobs)
            parts = list(pool.map(draw_crops, seeds, [chunk] * jobs, [stage.inner] * jobs))
        crops = torch.from_numpy(np.concatenate(parts))
        return crops[: chunk * 2], crops[chunk * 2 :]

    def _train(self, model: Model, stage: TrainingStage, path: Path, minutes: float) -> None:
        state_path = path.with_suffix(".state.pt")
        held_out, crops = self._crops(stage)
        torch.set_num_threads(self.plan.threads)
        model.requires_grad_(False).to(self.device)
        parameters = [*model.decoder.parameters(), *model.post_quant_conv.parameters()]
        for parameter in parameters:
            parameter.requires_grad_(True)
        optimiser = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        step, used = 0, 0.0
        if state_path.exists():
            state = torch.load(state_path, weights_only=False)
            model.load_state_dict(state["model"])
            optimiser.load_state_dict(state["optimiser"])
            step, used = state["step"], state["used"]
        peak, saved = self.plan.rate_inner if stage.inner else self.plan.rate_full, used

        def save() -> None:
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step, "used": used}
            torch.save(state, aside := state_path.with_suffix(".tmp"))
            aside.replace(state_path)
            torch.save(model.state_dict(), path)

        with TrainingProgress("decoder, inner" if stage.inner else "decoder, full", minutes, used) as progress:
            while progress.share < 1:
                fall = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress.share))
                for group in optimiser.param_groups:
                    group["lr"] = peak * min(1.0, (step + 1) / 60) * fall
                images = to_signal(crops[torch.randint(len(crops), (stage.batch,))]).to(self.device)
                error, gradient, square = self._loss(model, images, stage)
                optimiser.zero_grad()
                (error + stage.gradient_weight * gradient + 0.4 * square).backward()
                nn.utils.clip_grad_norm_(parameters, 1.0)
                optimiser.step()
                progress.tick(progress.elapsed())
                step, used = step + 1, progress.used
                if step % 50 == 0:
                    progress.show(step=step, error=error.item(), gradient=gradient.item(), dB=psnr(square.item()))
                if used - saved > 120:
                    save()
                    saved = used
        save()
        print(f"held out: {self.evaluate(model, held_out, stage):.2f} dB after {step} steps", flush=True)

    def _loss(
        self, model: Model, images: torch.Tensor, stage: TrainingStage
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        latents = cell_means(images, stage.box)
        # The transformer's latents are never exact: the decoder learns to forgive up to this much noise.
        latents = (
            latents + torch.randn_like(latents) * torch.rand(len(latents), 1, 1, 1, 1, device=latents.device) * 0.07
        )
        return losses(decode(model, latents) - images)

    @torch.no_grad()
    def evaluate(self, model: Model, held_out: torch.Tensor, stage: TrainingStage) -> float:
        """Return the quality on crops that training never sees, in dB."""
        errors = []
        for start in range(0, len(held_out), 10):
            images = to_signal(held_out[start : start + 10]).to(self.device)
            errors.append(functional.mse_loss(decode(model, cell_means(images, stage.box)).clamp(-1, 1), images).item())
        return psnr(sum(errors) / len(errors))
