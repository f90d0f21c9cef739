"""Read the query of a request."""

from typing import TypeVar

from flask import request
from pydantic import BaseModel

from imageserver.api.inputs.validation import validated

M = TypeVar("M", bound=BaseModel)


def read_query(model: type[M]) -> M:
    """Return the query as a model; raises InvalidParameter naming the first wrong parameter and its limit."""
    return validated(model, request.args.to_dict(), as_text=True)
