"""Why a LoRA file is not used."""


class LoraRefused(Exception):
    """The text completes a sentence that begins with the file's name."""
