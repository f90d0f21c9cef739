"""Check in one place that a model supports a request: in the API once the model is known, and in the engine.

The engine checks again because a request may come before its model is known, and a stored task may outlive a change of
models.
"""

from collections.abc import Collection
from dataclasses import dataclass

from imageserver.errors import InvalidParameter, NotFound


@dataclass(frozen=True, kw_only=True)
class Needs:
    """The inputs of a request beside its prompt: each image by the name of its field, None if absent; layers."""

    image: str | None = None
    mask: str | None = None
    control_image: str | None = None
    layers: bool = False


def check_supported(needs: Needs, model: str, kinds: Collection[str], *, layered: bool) -> None:
    """Raise InvalidParameter if a model of these `kinds` cannot serve the request; `layered` ones separate images."""
    image, mask, control = needs.image, needs.mask, needs.control_image
    if control is not None and "control" not in kinds:
        raise InvalidParameter(f"{model} has no ControlNet (CONTROLNET); leave {control} out.", param=control)
    guided = "control-image" if mask is None else "control-inpaint"
    if control is not None and image is not None and guided not in kinds:
        raise InvalidParameter(f"{model} is guided by {control} from text alone; leave {image} out.", param=image)
    if image is None and "text" not in kinds:
        raise InvalidParameter(f"{model} edits images; send image.", param="image")
    if image is not None and "image" not in kinds and "edit" not in kinds:
        raise InvalidParameter(f"{model} generates from text alone; leave {image} out.", param=image)
    if mask is not None and "inpaint" not in kinds:
        raise InvalidParameter(f"{model} does not inpaint; leave {mask} out.", param=mask)
    if needs.layers and not layered:
        raise InvalidParameter(f"{model} does not separate images into layers; leave layers out.", param="layers")


def check_describes(can: bool) -> None:
    """Raise NotFound where there is no model that describes images."""
    if not can:
        raise NotFound("interrogate: no model of this server describes images; write the prompt yourself.")
