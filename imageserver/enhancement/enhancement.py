"""The prompt that is to be made better, as it travels with its generation."""

from dataclasses import dataclass

UNAVAILABLE = (
    "enhance is ignored: the model has no language model that stays on its device, and ENHANCE_URL names none."
)


@dataclass(frozen=True, kw_only=True)
class Enhancement:
    """A prompt that a language model rewrites before the image is generated.

    `prompt` is what the client wrote; `suffix`, such as quality words, follows what is made of it. `revised` is the
    better prompt where it has been written already, empty where the engine is to write it.
    """

    prompt: str
    suffix: str = ""
    revised: str = ""

    def fitted(self, revised: str) -> str:
        """Return a better prompt without its end where something follows, which begins with a comma."""
        return revised.rstrip(" .。,，") if self.suffix else revised


def failure(reason: str) -> str:
    """Return the warning about a prompt that was used as it is."""
    return f"enhance failed, so the image was generated from the prompt as it is: {reason}."
