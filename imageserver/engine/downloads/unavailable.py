"""Why there is no model: the errors of looking for its files."""


class ModelUnavailable(Exception):
    """The model is unavailable; the message is one sentence for the user."""


class CardsAway(ModelUnavailable):
    """The cards that the model needs are being started again."""


class NotOnDisk(ModelUnavailable):
    """The model is not on the disk, and downloading is not allowed."""


class DownloadFailed(ModelUnavailable):
    """The hub has refused the model, or its files could not be written."""


class Unreachable(DownloadFailed):
    """The hub did not answer, although it was asked several times."""
