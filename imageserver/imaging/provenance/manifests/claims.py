"""What a manifest says of an image: the model that generated it, and the images that it was generated from.

It has no prompt and no thumbnail.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

from imageserver import __version__
from imageserver.generation import Generation
from imageserver.imaging.provenance.xmp import SourceType

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATOR = {"name": "qwen-image-server", "version": __version__}

# The image that was changed, or one that the model read beside it.
Relationship = Literal["parentOf", "inputTo"]


@dataclass(frozen=True, kw_only=True)
class Ingredient:
    """An image that was sent with the request, by a label of its own.

    `archive` has the image's own manifest, and `digest` is that of its file; both are empty where it has none.
    """

    label: str
    relationship: Relationship
    archive: bytes = b""
    digest: str = ""

    @property
    def description(self) -> dict[str, str]:
        return {"title": self.label, "label": self.label, "relationship": self.relationship}


@dataclass(frozen=True, kw_only=True)
class ManifestClaim:
    """The content of a manifest."""

    model: str
    source_type: SourceType
    ingredients: tuple[Ingredient, ...] = ()

    def without_archives(self) -> "ManifestClaim":
        """Return a claim that names the same ingredients without their manifests."""
        return replace(self, ingredients=tuple(replace(one, archive=b"") for one in self.ingredients))

    def definition(self) -> dict[str, Any]:
        """Return the manifest as c2pa builds it; ingredients with an archive are added to it one by one."""
        opened, inputs = (
            [ingredient.label for ingredient in self.ingredients if ingredient.relationship == relationship]
            for relationship in ("parentOf", "inputTo")
        )
        made: dict[str, Any] = {
            "action": "c2pa.edited" if opened else "c2pa.created",
            "digitalSourceType": SOURCE_TYPES + self.source_type,
            "softwareAgent": {"name": self.model or "unknown"},
        }
        actions = [{"action": "c2pa.opened", "parameters": {"ingredientIds": opened}}] if opened else []
        actions.append(made | ({"parameters": {"ingredientIds": inputs}} if inputs else {}))
        return {
            "claim_version": 2,
            "claim_generator_info": [GENERATOR],
            "ingredients": [ingredient.description for ingredient in self.ingredients if not ingredient.archive],
            "assertions": [{"label": "c2pa.actions.v2", "created": True, "data": {"actions": actions}}],
        }


def ingredients_in(generation: Generation) -> tuple[Ingredient, ...]:
    """Return the images of a generation whose files are not at hand."""
    source = generation.source
    parents = [Ingredient(label="image", relationship="parentOf")] if source is not None else []
    count = len(generation.controls) + (len(source.further) if source is not None else 0)
    return (*parents, *(Ingredient(label=f"input{number}", relationship="inputTo") for number in range(count)))
