"""A layer of an original model, in terms of diffusers' layers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Original:
    """The layers whose outputs, one after the other, are those of the original; `swapped` if its halves are."""

    layers: tuple[str, ...]
    swapped: bool = False
