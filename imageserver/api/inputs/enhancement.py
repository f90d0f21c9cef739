"""Whether the prompt of a request is made better before its image is generated."""

from imageserver.enhancement.enhancement import UNAVAILABLE, Enhancement
from imageserver.generation import ModelInfo
from imageserver.settings import Settings


def enhancement_of(
    prompt: str, suffix: str, settings: Settings, info: ModelInfo | None
) -> tuple[Enhancement | None, list[str]]:
    """Return what `enhance` means for a prompt, and a warning where nobody can write a better one.

    `info` is None while the model is unknown: the engine then sees. A blank prompt has nothing to be made better.
    """
    if not prompt.strip():
        return None, []
    if info is not None and not info.enhances and not settings.enhance_url:
        return None, [UNAVAILABLE]
    return Enhancement(prompt=prompt, suffix=suffix), []
