"""The agreed language between text encoder and transformer: five slots of fixed +1/-1 codes, an anchor and fillers.

The text encoder learns to write these vectors at the last five prompt tokens (the end of Qwen-Image's chat template),
and the transformer learns to draw from them. Both train apart, against this table: drawing becomes class-conditional.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from tools.demo.scenes import Scene, Thing
from tools.demo.vocabulary import COLOURS, KINDS, LANDSCAPES, PLACES, SIZES

WIDTH = 192
SLOTS = 5  # background, three things, one spare
# "null": nothing is known (the unconditional code); "absent": there is no such thing; "any": the image may choose.
KIND_NAMES = ("null", "absent", "any", "plain", *LANDSCAPES, *KINDS)
COLOUR_NAMES = ("any", *COLOURS)
PLACE_NAMES = ("any", *PLACES)
SIZE_NAMES = ("any", *SIZES)
FIELDS = {"kind": KIND_NAMES, "colour": COLOUR_NAMES, "place": PLACE_NAMES, "size": SIZE_NAMES}
FIELD_WIDTHS = {"slot": 16, "kind": 80, "colour": 48, "place": 24, "size": 24}
DESCRIBED = 4  # slots that carry a description


@dataclass(frozen=True)
class Description:
    """What one slot says: indices into the four tables of names."""

    kind: int
    colour: int = 0
    place: int = 0
    size: int = 0

    def row(self) -> tuple[int, int, int, int]:
        """Return the four indices in the order of `FIELDS`."""
        return self.kind, self.colour, self.place, self.size


def describe(kind: str, colour: str = "any", place: str = "any", size: str = "any") -> Description:
    """ImageOptions up the indices of a description given in words."""
    return Description(
        KIND_NAMES.index(kind), COLOUR_NAMES.index(colour), PLACE_NAMES.index(place), SIZE_NAMES.index(size)
    )


NULL = (describe("null"),) * DESCRIBED


def describe_thing(thing: Thing) -> Description:
    """Describe what the caption tells about an object."""
    told = thing.told
    return describe(
        thing.kind if "kind" in told else "any",
        thing.colour if "colour" in told else "any",
        thing.place if "place" in told else "any",
        thing.size if "size" in told else "any",
    )


def describe_scene(scene: Scene) -> tuple[Description, ...]:
    """Describe what the caption tells about a scene: background first, then three things."""
    if scene.landscape:
        background = describe(scene.landscape)
    elif scene.background:
        background = describe("plain", scene.background)
    else:
        background = describe("any")
    things = [describe_thing(thing) for thing in scene.things]
    return (background, *things, *[describe("absent")] * (3 - len(things)))


def rows(descriptions: Iterable[Description]) -> list[tuple[int, int, int, int]]:
    """Return the table rows of the described slots."""
    return [description.row() for description in descriptions]


class CodeBook:
    """The fixed random +1/-1 vectors of every name, of the anchor (first token) and of the filler (any other token)."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(20261121)

        def signs(count: int, width: int) -> torch.Tensor:
            return torch.randint(0, 2, (count, width), generator=generator).float() * 2 - 1

        self.slot = signs(SLOTS, FIELD_WIDTHS["slot"])
        self.tables = {field: signs(len(names), FIELD_WIDTHS[field]) for field, names in FIELDS.items()}
        self.anchor, self.filler = signs(2, WIDTH)
        self.spare = signs(1, WIDTH - FIELD_WIDTHS["slot"])[0]

    def slots(self, indices: torch.Tensor) -> torch.Tensor:
        """Turn (batch, 4, 4) table indices into (batch, 5, WIDTH) slot vectors."""
        batch = indices.shape[0]
        parts = [self.slot[:DESCRIBED].expand(batch, -1, -1)]
        parts += [table[indices[:, :, column]] for column, table in enumerate(self.tables.values())]
        spare = torch.cat([self.slot[DESCRIBED], self.spare]).expand(batch, 1, -1)
        return torch.cat([torch.cat(parts, -1), spare], 1)

    def sequence(self, indices: torch.Tensor, prompt_tokens: int) -> torch.Tensor:
        """Return the whole (batch, prompt_tokens + 5, WIDTH) text a perfect encoder would give."""
        slots = self.slots(indices)
        prompt = torch.cat([self.anchor[None], self.filler.expand(max(0, prompt_tokens - 1), -1)])[:prompt_tokens]
        return torch.cat([prompt.expand(len(slots), -1, -1), slots], 1)
