"""How much may wait, and for how long."""

from pydantic import BaseModel, Field


class QueueSettings(BaseModel):
    """How much may wait, and for how long."""

    max_queue: int = Field(
        64, ge=1, description="Maximum number of generations that run or wait; one more is refused with 429."
    )
    max_queue_mb: float = Field(
        512.0,
        gt=0,
        description="Maximum size of the decoded images that generations in the queue start from, in MiB; one more is "
        "refused with 429.",
    )
    max_decode_mb: float = Field(
        640.0,
        gt=0,
        description="Memory in which the images of requests are decoded, in MiB, shared evenly by WORKERS; requests "
        "that find none free wait.",
    )
    request_timeout: float = Field(
        600.0, gt=0, description="Seconds that a request may take, waiting included, before the server answers 504."
    )
