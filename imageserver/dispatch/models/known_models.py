"""What is known of the models that seats have had, all seats together."""

from collections.abc import Sequence
from dataclasses import replace

from imageserver.dispatch.seats.seat import Seat
from imageserver.generation import ModelInfo


def known_models(seats: Sequence[Seat]) -> dict[str, ModelInfo]:
    """Return each model as the first seat holds it that has had it; a seat that has failed holds none again.

    It writes prompts and captions where any seat does: an offloaded language model writes none, beside one that does.
    """
    found: dict[str, ModelInfo] = {}
    for seat in seats:
        if seat.engine.state == "failed":
            continue
        for name, info in seat.models.known.items():
            first = found.setdefault(name, info)
            found[name] = replace(
                first, enhances=first.enhances or info.enhances, captions=first.captions or info.captions
            )
    return found
