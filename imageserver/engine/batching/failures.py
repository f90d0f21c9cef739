"""What the client of a failed generation, or of a failed change of LoRAs, is told."""

import logging

from imageserver.engine.batching.running_job import RunningJob
from imageserver.engine.device_errors import drop_frames, end_if_lost, is_out_of_memory
from imageserver.errors import GenerationFailed, OutOfMemory, ServiceError

logger = logging.getLogger(__name__)


def as_service_error(error: Exception, job: RunningJob) -> ServiceError:
    """Return the error for the client, and free what failed; ends the process when the device is lost."""
    end_if_lost(error)
    if not isinstance(error, ServiceError):
        logger.error("The generation failed.", exc_info=error, extra=job.log_fields)
    drop_frames(error)
    if isinstance(error, ServiceError):
        return error
    if is_out_of_memory(error):
        size, fits = f"{job.generation.width}x{job.generation.height}", job.model.largest_generated
        known = f" of at most {fits} pixels, as one that was generated before" if 0 < fits < job.pixels else ""
        return OutOfMemory(f"The device's memory cannot hold a {size} image; ask for a smaller one{known}.")
    return GenerationFailed(f"The generation failed inside the pipeline ({type(error).__name__}).")


def as_lora_error(error: Exception) -> ServiceError:
    """Return the error for who changes LoRAs, and free what failed; ends the process when the device is lost."""
    end_if_lost(error)
    if not isinstance(error, ServiceError):
        logger.error("The LoRAs of a model cannot be changed.", exc_info=error)
    drop_frames(error)
    if isinstance(error, ServiceError):
        return error
    return GenerationFailed(f"The model's LoRAs could not be changed ({type(error).__name__}).")
