"""The messages between rank 0 and another rank."""

import msgspec

from imageserver.engine.card_group.described import Described
from imageserver.generation import MemoryPlanName
from imageserver.protocol.messages import Message


class LoadDenoiser(Message, frozen=True, kw_only=True):
    """Rank 0: load the component `denoiser` of a model as rank 0 has it; answered by RankDone or RankFailed.

    Of a denoiser in several `parts` the rank loads its own alone.
    """

    model: str
    denoiser: str
    folder: str
    dtype: str
    memory_plan: MemoryPlanName
    transformer_file: str | None
    part: int = 0
    parts: int = 1


class UnloadDenoiser(Message, frozen=True, kw_only=True):
    """Rank 0: free the memory of a model."""

    model: str


class JoinRanks(Message, frozen=True, kw_only=True):
    """Rank 0: meet the others of this start in a process group of `size` ranks, as `rank`; answered by RankDone."""

    rank: int
    size: int
    start: int


class AddLora(Message, frozen=True, kw_only=True):
    """Rank 0: add a LoRA; its weights are the frame's raw bytes, a safetensors file with peft's description."""

    model: str
    adapter: str
    size: int

    @property
    def max_raw_bytes(self) -> int:
        return self.size


class RemoveLora(Message, frozen=True, kw_only=True):
    """Rank 0: remove a LoRA."""

    model: str
    adapter: str


class UseLoras(Message, frozen=True, kw_only=True):
    """Rank 0: compute with exactly these LoRAs from now on."""

    model: str
    adapters: tuple[str, ...]
    scales: tuple[float, ...]


class ComputeForward(Message, frozen=True, kw_only=True):
    """Rank 0: compute one forward, its tensors follow from card to card; answered by RankDone or RankFailed.

    `degree` ranks share its tokens; with `parts` each has a part of the weights, and `gathers` says whether the first
    layers of feed-forwards gather. The rank that `answers` sends the tensors of the result after RankDone.
    """

    model: str
    arguments: Described
    degree: int
    answers: bool
    parts: bool = False
    gathers: bool = False


class RankSign(Message, frozen=True, kw_only=True):
    """The rank's process is alive."""


class RankDone(Message, frozen=True, kw_only=True):
    """The rank has done what it was asked; `output` describes the result of a forward."""

    output: Described = None


class RankFailed(Message, frozen=True, kw_only=True):
    """The rank could not do what it was asked; it ends where its device is `lost` or it is out of step with rank 0."""

    sentence: str
    out_of_memory: bool = False
    lost: bool = False

    def explained(self, device: str) -> str:
        """Return it in words by which `is_out_of_memory` knows it."""
        return f"card {device}: {'out of memory: ' if self.out_of_memory else ''}{self.sentence}"


ToRank = LoadDenoiser | UnloadDenoiser | JoinRanks | AddLora | RemoveLora | UseLoras | ComputeForward
FromRank = RankSign | RankDone | RankFailed

decode_to_rank = msgspec.msgpack.Decoder(ToRank).decode
decode_from_rank = msgspec.msgpack.Decoder(FromRank).decode
