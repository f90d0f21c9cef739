"""A model whose cards fail while it is loaded, or are not back yet, is refused, and the engine goes on without it."""

import contextlib
import dataclasses
from collections.abc import Iterator

from imageserver.engine.card_group.card_group import CardGroup
from imageserver.engine.device_errors import DeviceLost, is_lost, is_out_of_memory
from imageserver.engine.downloads import CardsAway, ModelUnavailable
from imageserver.engine.models.model_choice import FoundModel


@contextlib.contextmanager
def refusing_without_cards(
    group: CardGroup | None, model: str, *, is_first: bool = False, has_fitted: bool = False
) -> Iterator[None]:
    """Raise ModelUnavailable where the group breaks up inside and no other model needs it.

    Where rank 0's own device is lost, or another model is divided, DeviceLost goes on: this engine has to end. Also
    over its `is_first` model, so that the dispatcher tries once more, but not where memory ran out: that would happen
    again, unless the model `has_fitted` the engine before.
    """
    try:
        yield
    except DeviceLost as error:
        cause = error.__context__
        if group is None or (cause is not None and is_lost(cause)):
            raise
        group.unload(model)
        is_memory_short = is_out_of_memory(RuntimeError(group.loss))
        if group.is_divided or (is_first and (has_fitted or not is_memory_short)):
            raise
        cards = " and ".join(group.devices)
        advice = " A smaller MAX_PIXELS may fit." if is_memory_short else ""
        raise ModelUnavailable(f"{model} cannot be spread over {cards}: {group.loss.rstrip('.')}.{advice}") from error


def refuse_if_divided(found: FoundModel, group: CardGroup, reclaimable: int) -> None:
    """Raise CardsAway for a model that all cards of a broken group would hold together once they are back."""
    plan, _ = dataclasses.replace(found, cards=group.devices).plan(reclaimable)
    if plan.sharded:
        cards = " and ".join(group.devices)
        raise CardsAway(f"{found.name} needs {cards}, which are being started again; ask again in a minute.")
