"""The line of the log for an error that a client gets."""

import logging

from imageserver.errors import BadRequest, InvalidParameter, NotFound, ServiceError
from imageserver.telemetry.logs import ClientText

# What clients sent was wrong: the sentences quote it, which may be a prompt in the wrong field.
QUOTING = {BadRequest.status, InvalidParameter.status, NotFound.status}


def log_error(logger: logging.Logger, error: ServiceError, level: int = logging.INFO) -> None:
    """Log the status, the code and the sentence of an error, which LOG_PROMPTS=0 keeps back where it quotes a field."""
    sentence = ClientText(error.sentence) if error.status in QUOTING else error.sentence
    logger.log(level, "%d %s: %s", error.status, error.code, sentence)
