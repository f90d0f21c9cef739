"""Choose the cache for the tiers: the names that `QUALITY_CACHE` accepts, and why some of diffusers' are refused."""

import inspect
import logging
from collections.abc import Callable

import torch

from imageserver.engine.caching.backend import CacheBackend
from imageserver.engine.caching.calibration import Calibration
from imageserver.engine.caching.first_block import FirstBlock
from imageserver.engine.caching.mag_cache import MagCache
from imageserver.engine.caching.taylorseer import TaylorSeer
from imageserver.engine.caching.tiers import QualityTiers
from imageserver.engine.devices.batch_limits import Forward
from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.pipelines.suspension import SetContext
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

CHOICES = "choose taylorseer, first_block or magcache"
# Caches that diffusers 0.42 accepts for Qwen-Image's transformer, and what happens to an image with guidance.
REFUSED = {
    "pyramid_attention_broadcast": "it keeps one state for all passes and all images, and crashes when the prompt "
    "and the negative prompt differ in length",
    "fastercache": "it expects guidance as one batch of two, while Qwen-Image computes it in two passes, and crashes",
    "sea_cache": "it needs the step to be announced with each pass, which Qwen-Image's pipeline does not, and skips "
    "nothing",
    "text_kv_cache": "it knows only another model's blocks, and skips nothing in Qwen-Image's",
}


def refuse_unusable(settings: Settings) -> None:
    """Raise ModelUnavailable for a cache that diffusers has but the tiers cannot use."""
    if reason := REFUSED.get(settings.quality_cache):
        raise ModelUnavailable(f"QUALITY_CACHE={settings.quality_cache} cannot be used: {reason}; {CHOICES}.")


def open_tiers(
    settings: Settings,
    denoiser: torch.nn.Module,
    set_context: SetContext | None,
    forward: Forward,
    calibrate: Callable[[SetContext], Calibration],
) -> QualityTiers | None:
    """Return the tiers, or None where the model cannot have any and the owner chose no cache.

    `calibrate` is called only for MagCache. Raises ModelUnavailable if the requested cache does not fit.
    """
    name = settings.quality_cache
    try:
        if set_context is None:
            raise ValueError(f"diffusers has no caches for {type(denoiser).__name__}")
        if "kv_cache" in inspect.signature(type(denoiser).forward).parameters:
            raise ValueError("its forward has a cache of its own, which later steps may reuse")
        tiers = QualityTiers(denoiser, set_context, forward, _backend(name, lambda: calibrate(set_context)))
        tiers.check_fit()
    except (ValueError, IndexError, AttributeError, TypeError, RuntimeError) as error:
        sentence = f"QUALITY_CACHE={name} cannot be used with this model: {error}"
        if name != Settings.model_fields["quality_cache"].default:
            raise ModelUnavailable(f"{sentence}; leave it out.") from error
        logger.info("%s; it generates exact images only.", sentence)
        return None
    return tiers


def _backend(name: str, calibrate: Callable[[], Calibration]) -> CacheBackend:
    if name == "magcache":
        return MagCache(calibrate())
    return FirstBlock() if name == "first_block" else TaylorSeer()
