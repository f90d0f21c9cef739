"""Train the text encoder as a parser: its last five hidden states become the slot codes of what the caption tells.

Captions are generated as fast as they are read, so paraphrases, synonyms, unknown words and Chinese are all cheap.
Every other prompt token is taught one constant vector, so that it carries nothing.
"""

import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import DynamicCache, Qwen2Tokenizer

from tools.demo.captions import sample_caption
from tools.demo.codes import DESCRIBED, FIELD_WIDTHS, WIDTH, CodeBook, rows
from tools.demo.muon import Muon
from tools.demo.networks import make_text_encoder
from tools.demo.progress import TrainingProgress
from tools.demo.tokenizer import PREFIX, PREFIX_TOKENS, SUFFIX, SUFFIX_TOKENS, load_tokenizer

Encoded = tuple[list[int], list[tuple[int, int, int, int]]]
_tokenizer: Qwen2Tokenizer | None = None


@dataclass(frozen=True)
class TextPlan:
    """How the text encoder is trained."""

    minutes: float
    batch: int = 160
    rate: float = 0.015
    adam_rate: float = 3e-3
    cooldown: float = 0.6
    average: float = 0.998
    threads: int = 1
    seed: int = 7


def _open_tokenizer(folder: str) -> None:
    global _tokenizer
    _tokenizer = load_tokenizer(Path(folder))


def encode_captions(seed: int, count: int) -> list[Encoded]:
    """Write and tokenise `count` captions, shortest first (runs in a worker process)."""
    assert _tokenizer is not None
    generator = random.Random(seed)
    samples = [sample_caption(generator) for _ in range(count)]
    ids = _tokenizer([PREFIX + caption + SUFFIX for caption, _ in samples]).input_ids
    encoded = [(tokens[PREFIX_TOKENS:], rows(told)) for tokens, (_, told) in zip(ids, samples, strict=True)]
    return sorted(encoded, key=lambda item: len(item[0]))


class TextTraining:
    """Model, optimiser, averaged weights and the clock of one run."""

    def __init__(self, plan: TextPlan, tokenizer_folder: Path, output: Path, device: str = "cpu") -> None:
        self.plan, self.output, self.device, self.folder = plan, output, device, tokenizer_folder
        torch.manual_seed(plan.seed)
        tokenizer = load_tokenizer(tokenizer_folder)
        self.prefix = torch.tensor(tokenizer(PREFIX).input_ids, device=device)[None]
        self.model = make_text_encoder(tokenizer).to(device)
        self.language = self.model.model.language_model
        matrices = [p for n, p in self.language.named_parameters() if p.ndim == 2 and n.startswith("layers")]
        chosen = {id(p) for p in matrices}
        self.parameters = list(self.language.parameters())
        self.optimiser = Muon(matrices, [p for p in self.parameters if id(p) not in chosen], plan.rate, plan.adam_rate)
        self.averaged = [p.detach().clone() for p in self.parameters]
        self.book = CodeBook()
        self.step, self.used = 0, 0.0
        if self.state_path.exists():
            state = torch.load(self.state_path, weights_only=False)
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.averaged, self.step, self.used = state["averaged"], state["step"], state["used"]

    @property
    def state_path(self) -> Path:
        """Where the resumable checkpoint lies."""
        return self.output.with_suffix(".state.pt")

    def hidden(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the last hidden states (batch, tokens, width); the constant prefix is computed once and shared."""
        cache = DynamicCache()
        self.language(input_ids=self.prefix, past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(len(tokens))
        states: torch.Tensor = self.language(input_ids=tokens, past_key_values=cache, use_cache=True).last_hidden_state
        return states

    def loss(self, batch: list[Encoded]) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the loss of a batch and the share of right answers per field."""
        count, longest = len(batch), max(len(tokens) for tokens, _ in batch)
        tokens = torch.zeros(count, longest, dtype=torch.long)
        target = self.book.filler.expand(count, longest, -1).clone()
        weight = torch.zeros(count, longest)
        lengths = torch.tensor([len(ids) for ids, _ in batch])
        told = torch.tensor([rows_ for _, rows_ in batch])
        slots = self.book.slots(told)
        for index, (ids, _) in enumerate(batch):
            tokens[index, : len(ids)] = torch.tensor(ids)
            start = len(ids) - SUFFIX_TOKENS
            target[index, 0] = self.book.anchor
            target[index, start : len(ids)] = slots[index]
            weight[index, :start] = 0.3 / max(1, start)
            weight[index, start : len(ids)] = 0.2
        with torch.autocast(self.device.split(":")[0], torch.bfloat16):
            states = self.hidden(tokens.to(self.device)).float()
        error = (states - target.to(self.device)).square().mean(-1)
        regression = (error * weight.to(self.device)).sum() / count
        positions = lengths[:, None] - SUFFIX_TOKENS + torch.arange(DESCRIBED)
        described = states[torch.arange(count)[:, None], positions.to(self.device)]
        classification, right = torch.zeros((), device=self.device), {}
        offset = FIELD_WIDTHS["slot"]
        for column, (field, table) in enumerate(self.book.tables.items()):
            width = FIELD_WIDTHS[field]
            logits = described[..., offset : offset + width] @ table.to(self.device).T / width * 8
            wanted = told[..., column].to(self.device)
            classification = classification + functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
            right[field] = float((logits.argmax(-1) == wanted).all(1).float().mean())
            offset += width
        assert offset == WIDTH
        return regression + 0.25 * classification, right

    def save(self) -> None:
        """Write the resumable checkpoint and the averaged weights."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "averaged": self.averaged,
        }
        state |= {"step": self.step, "used": self.used}
        aside = self.state_path.with_suffix(".tmp")
        torch.save(state, aside)
        aside.replace(self.state_path)
        current = [p.detach().clone() for p in self.parameters]
        for parameter, value in zip(self.parameters, self.averaged, strict=True):
            parameter.data.copy_(value)
        torch.save(self.model.state_dict(), self.output)
        for parameter, value in zip(self.parameters, current, strict=True):
            parameter.data.copy_(value)

    def _update(self, batch: list[Encoded], rate: float) -> dict[str, float]:
        """Learn from one batch; returns the loss and the share of right answers per field."""
        self.optimiser.set_rate(rate)
        loss, right = self.loss(batch)
        self.model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.step += 1
        keep = min(self.plan.average, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(self.averaged, [p.detach() for p in self.parameters], 1 - keep)
        return {"loss": loss.item(), **right}

    def run(self) -> None:
        """Train until the budget is used; one worker process writes captions ahead."""
        torch.set_num_threads(self.plan.threads)
        chunk, saved = self.plan.batch * 32, self.used
        generator = random.Random(self.plan.seed + self.step)
        with (
            ProcessPoolExecutor(1, initializer=_open_tokenizer, initargs=(str(self.folder),)) as pool,
            TrainingProgress("text", self.plan.minutes, self.used) as progress,
        ):
            pending = pool.submit(encode_captions, generator.getrandbits(40), chunk)
            batches: list[list[Encoded]] = []
            recent: list[dict[str, float]] = []
            while progress.share < 1:
                if not batches:
                    captions = pending.result()
                    pending = pool.submit(encode_captions, generator.getrandbits(40), chunk)
                    batches = [captions[start : start + self.plan.batch] for start in range(0, chunk, self.plan.batch)]
                    generator.shuffle(batches)
                warm, cool = (self.step + 1) / 100, (1 - progress.share) / self.plan.cooldown + 1e-3
                recent = [*recent[-49:], self._update(batches.pop(), min(1.0, warm) * min(1.0, cool))]
                progress.tick(progress.elapsed())
                self.used = progress.used
                if self.step % 10 == 0:
                    progress.show(**{name: sum(item[name] for item in recent) / len(recent) for name in recent[0]})
                if self.used - saved > 120:
                    self.save()
                    saved = self.used
        self.save()
