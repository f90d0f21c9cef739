"""Train the transformer on slot codes, without any text encoder: flow matching on thumbnails, averaged weights.

Two one-thread processes with averaged gradients are 1.5 times as fast on two CPU cores as one process with two threads.
"""

import math
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from diffusers.models.transformers import transformer_qwenimage
from torch import nn

from tools.demo.codes import FIELDS, CodeBook
from tools.demo.latents import ASPECTS, OTHERS, SQUARE, Grid, to_latents
from tools.demo.muon import Muon
from tools.demo.networks import make_transformer
from tools.demo.progress import TrainingProgress

# One mean and spread per colour channel (of the thumbnails in [-1, 1]) for every latent channel.
LATENT_MEAN = (0.18, 0.13, 0.17)
LATENT_STD = (0.62, 0.54, 0.61)


@dataclass(frozen=True)
class TransformerPlan:
    """How the transformer is trained; `minutes` is the whole budget, the schedule follows it."""

    minutes: float
    batch: int = 24  # images of 64 tokens per process and step
    layers: int = 6
    heads: int = 5
    rate: float = 0.02
    adam_rate: float = 1.5e-3
    average: float = 0.999
    other_grids: float = 0.4  # share of the steps on grids other than 8 x 8
    cooldown: float = 0.5  # last part of the budget, over which the learning rate falls to zero
    compiled: bool = True
    seed: int = 1


def sigma_shift(tokens: int) -> float:
    """Return the scheduler's dynamic shift for a number of image tokens."""
    return math.exp(0.5 + (1.2 - 0.5) * (tokens - 64) / (441 - 64))


def use_real_rotary_embedding() -> None:
    """Make the rotary embedding real-valued (numerically equal), so that the compiler can fuse it."""
    original = transformer_qwenimage.QwenEmbedRope.forward

    def forward(self: Any, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, ...]:
        return tuple(torch.view_as_real(part) for part in original(self, *args, **kwargs))

    def rotate(x: torch.Tensor, freqs_cis: torch.Tensor, use_real: bool = False) -> torch.Tensor:
        even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
        cos, sin = freqs_cis[..., 0].unsqueeze(1), freqs_cis[..., 1].unsqueeze(1)
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(3).type_as(x)

    stock: Any = transformer_qwenimage
    stock.QwenEmbedRope.forward = forward
    stock.apply_rotary_emb_qwen = rotate


def sample_prompt_tokens(generator: random.Random) -> int:
    """Sample how many tokens the prompt has before the slots; long prompts are rare."""
    low, high = generator.choices(((3, 14), (14, 26), (26, 60), (60, 150), (0, 2)), (0.72, 0.18, 0.05, 0.01, 0.04))[0]
    return generator.randint(low, high)


def forget(indices: torch.Tensor) -> torch.Tensor:
    """Hide some of what is told: 10 % of the scenes wholly (unconditional), single attributes now and then."""
    indices = indices.clone()
    batch = len(indices)
    anything = FIELDS["kind"].index("any")
    is_thing = indices[:, 1:, 0] > anything
    indices[:, 1:, 0] = torch.where(is_thing & (torch.rand(batch, 3) < 0.03), anything, indices[:, 1:, 0])
    indices[:, 0, 0] = torch.where(torch.rand(batch) < 0.04, anything, indices[:, 0, 0])
    indices[:, 0, 1] = torch.where(indices[:, 0, 0] == anything, 0, indices[:, 0, 1])
    for column, share in ((1, 0.05), (2, 0.04), (3, 0.1)):
        indices[:, 1:, column] = torch.where(torch.rand(batch, 3) < share, 0, indices[:, 1:, column])
    indices[torch.rand(batch) < 0.1] = 0  # row 0 of every table: "null", "any", "any", "any"
    return indices


class TransformerTraining:
    """One process of the training run: model, data, optimiser, averaged weights and the clock."""

    def __init__(self, plan: TransformerPlan, scenes: Path, output: Path, rank: int, world: int, device: str) -> None:
        self.plan, self.output, self.rank, self.world, self.device = plan, output, rank, world, device
        torch.manual_seed(plan.seed)
        self.model = make_transformer(plan.layers, plan.heads).to(device)
        blocks = [
            p
            for n, p in self.model.named_parameters()
            if n.startswith("transformer_blocks") and p.ndim == 2 and "_mod." not in n
        ]
        chosen = {id(p) for p in blocks}
        self.parameters = list(self.model.parameters())
        others = [p for p in self.parameters if id(p) not in chosen]
        self.optimiser = Muon(blocks, others, plan.rate, plan.adam_rate, rank, world)
        self.book = CodeBook()
        self.scenes: dict[Grid, tuple[torch.Tensor, torch.Tensor]] = torch.load(scenes, mmap=True)
        self.mean, self.std = torch.tensor(LATENT_MEAN).repeat(4), torch.tensor(LATENT_STD).repeat(4)
        self.step, self.used, self.history = 0, 0.0, list[Any]()
        self.averaged = [p.detach().clone() for p in self.parameters]
        if self.state_path.exists():
            self._resume()
        if plan.compiled:
            use_real_rotary_embedding()
            for block in self.model.transformer_blocks:
                block.compile(dynamic=True)
        torch.manual_seed(plan.seed + 1000 * rank + self.step)
        self.shared = random.Random(plan.seed + self.step)

    @property
    def state_path(self) -> Path:
        """Where the resumable checkpoint lies."""
        return self.output.with_suffix(".state.pt")

    def _resume(self) -> None:
        state = torch.load(self.state_path, weights_only=False)
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.averaged = [value.to(self.device) for value in state["averaged"]]
        self.step, self.used, self.history = state["step"], state["used"], state["history"]
        print(f"resumed at step {self.step}, {self.used / 60:.1f} minutes used", flush=True)

    def weights(self) -> dict[str, torch.Tensor]:
        """Return the plain names and tensors of the model."""
        return {name.replace("_orig_mod.", ""): value.detach().cpu() for name, value in self.model.state_dict().items()}

    def save_state(self) -> None:
        """Write the resumable checkpoint, aside first."""
        state: dict[str, Any] = {
            "model": self.weights(),
            "optimiser": self.optimiser.state_dict(),
            "averaged": self.averaged,
        }
        state |= {"step": self.step, "used": self.used, "history": self.history}
        aside = self.state_path.with_suffix(".tmp")
        torch.save(state, aside)
        aside.replace(self.state_path)

    def save_averaged(self) -> None:
        """Write the averaged weights: what is shipped."""
        current = [p.detach().clone() for p in self.parameters]
        for parameter, value in zip(self.parameters, self.averaged, strict=True):
            parameter.data.copy_(value)
        torch.save({"plan": asdict(self.plan), "weights": self.weights()}, self.output)
        for parameter, value in zip(self.parameters, current, strict=True):
            parameter.data.copy_(value)

    def batch(self, grid: Grid) -> tuple[torch.Tensor, torch.Tensor]:
        """Return normalised tokens (n, tokens, 48) and text (n, prompt + 5, width) of random scenes of one grid."""
        thumbnails, described = self.scenes[grid]
        count = max(3, self.plan.batch * 64 // (grid[0] * grid[1]))
        chosen = torch.randint(len(thumbnails), (count,))
        tokens = to_latents(thumbnails[chosen]).view(count, -1, 12, 4)
        tokens = ((tokens - self.mean[:, None]) / self.std[:, None]).flatten(2)
        text = self.book.sequence(forget(described[chosen].long()), sample_prompt_tokens(self.shared))
        text = text + torch.randn_like(text) * 0.1
        return tokens.to(self.device), text.to(self.device)

    def loss(self, grid: Grid) -> torch.Tensor:
        """Return the flow-matching losses (n,) of one batch."""
        tokens, text = self.batch(grid)
        count = len(tokens)
        shift = sigma_shift(tokens.shape[1])
        # The layout is decided at high noise: look there more often than the scheduler does.
        level = torch.sigmoid(torch.randn(count, device=self.device) + 0.5)
        level = torch.where(torch.rand(count, device=self.device) < 0.15, torch.rand(count, device=self.device), level)
        sigma = shift * level / (1 + (shift - 1) * level)
        noise = torch.randn_like(tokens)
        noisy = torch.lerp(tokens, noise, sigma[:, None, None])
        with torch.autocast(self.device.split(":")[0], torch.bfloat16):
            shapes = [[(1, grid[1], grid[0])]] * count
            velocity = self.model(
                hidden_states=noisy, encoder_hidden_states=text, timestep=sigma, img_shapes=shapes, return_dict=False
            )[0]
        losses: torch.Tensor = (velocity.float() - (noise - tokens)).square().mean((1, 2))
        return losses

    def choose_grid(self) -> Grid:
        """Choose the next batch's grid; the same in every process."""
        if self.step < 100 or self.shared.random() >= self.plan.other_grids:
            return SQUARE
        return self.shared.choice(ASPECTS if self.shared.random() < 0.6 else OTHERS)

    def average_gradients(self, clock: float) -> float:
        """Average the gradients over the processes; the first one's clock travels along, so all keep one schedule."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if self.world == 1:
            return clock
        flat = torch.cat(
            [*(g.reshape(-1) for g in gradients), torch.tensor([clock * self.world if self.rank == 0 else 0.0])]
        )
        dist.all_reduce(flat)
        flat /= self.world
        offset = 0
        for gradient in gradients:
            gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
            offset += gradient.numel()
        return float(flat[-1])

    def _update(self, grid: Grid, rate: float, progress: TrainingProgress, timed: bool) -> float:
        """Learn from one batch of a grid; returns the loss. The first steps compile and are not `timed`."""
        self.optimiser.set_rate(rate)
        loss = self.loss(grid).mean()
        self.model.zero_grad()
        loss.backward()
        progress.tick(self.average_gradients(progress.elapsed() if timed else progress.used))
        if not timed:
            progress.pause()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.step, self.used = self.step + 1, progress.used
        keep = min(self.plan.average, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.averaged, [p.detach() for p in self.parameters], 1 - keep)
        return loss.item()

    def save(self) -> None:
        """Write the checkpoint and the averaged weights (the first process only)."""
        if self.rank == 0:
            self.save_state()
            self.save_averaged()

    def run(self) -> None:
        """Train until the budget is used."""
        first, saved = self.step, self.used
        losses: dict[str, list[float]] = {"square": [], "other": []}
        with TrainingProgress("transformer", self.plan.minutes, self.used, quiet=self.rank > 0) as progress:
            while progress.share < 1:
                warm, cool = (self.step + 1) / 150, (1 - progress.share) / self.plan.cooldown + 1e-3
                grid = self.choose_grid()
                loss = self._update(grid, min(1.0, warm) * min(1.0, cool), progress, self.step - first >= 3)
                losses["square" if grid == SQUARE else "other"].append(loss)
                if self.step % 50 == 0:
                    means = {name: sum(values) / max(1, len(values)) for name, values in losses.items()}
                    self.history.append({"step": self.step, "seconds": round(self.used), **means})
                    progress.show(step=self.step, **means)
                    losses = {"square": [], "other": []}
                if self.used - saved > 180:
                    self.save()
                    saved = self.used
        self.save()


def train_process(
    rank: int, world: int, plan: TransformerPlan, scenes: Path, output: Path, device: str, threads: int, meeting: str
) -> None:
    """Run one training process; `meeting` is a file through which the processes find each other."""
    torch.set_num_threads(threads)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    TransformerTraining(plan, scenes, output, rank, world, device).run()
    if world > 1:
        dist.destroy_process_group()
