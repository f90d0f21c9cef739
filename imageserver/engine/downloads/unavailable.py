"""Why there is no model: the errors of looking for its files."""


class ModelUnavailable(Exception):
    """The model is unavailable; the message is one sentence for the user."""


class NotOnDisk(ModelUnavailable):
    """The model is not on the disk, and downloading is not allowed."""


class Unreachable(ModelUnavailable):
    """The hub did not answer, although it was asked several times."""
