"""The model that a new engine begins with: the one of the engine before it, else that of the settings."""

import logging
import time
from dataclasses import replace

from imageserver.engine.batching.step_scheduler import Send, Trace, no_trace
from imageserver.engine.card_group.card_group import CardGroup
from imageserver.engine.downloads import ModelUnavailable, NotOnDisk, Report
from imageserver.engine.models.model_choice import FoundModel
from imageserver.engine.models.model_pool import ModelPool
from imageserver.protocol.initial_model import InitialModel
from imageserver.protocol.messages import ModelChosen
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

# A killed process gives the memory of its device back once its kernels have ended.
MEMORY_WAIT_SECONDS = 30.0
POLL_SECONDS = 0.5


def open_model_pool(
    settings: Settings, report: Report, send: Send, trace: Trace = no_trace, *,
    default_model: InitialModel | None = None, configured_model: InitialModel | None = None,
    group: CardGroup | None = None,
) -> ModelPool:  # fmt: skip
    """Open a pool with the `default_model` that clients have set, or with the model of the settings.

    The latter also where the default model cannot be loaded any more. MODEL=auto means the `configured_model` of the
    engine before, whatever memory is free now. Raises ModelUnavailable or DeviceUnavailable.
    """
    if configured_model is not None and settings.model == "auto":
        settings = settings.model_copy(update={"model": configured_model.name})
    elif configured_model is not None and settings.model != configured_model.name:
        configured_model = None
    pool = ModelPool(settings, send, report, trace, group)
    if default_model is not None:
        name = default_model.name
        try:
            # Not downloaded again: that may take hours, in which nothing would be generated.
            _load(pool, pool.find(name, report, fetch=False), report, send, default_model)
        except NotOnDisk:
            logger.error("%s is not on the disk any more; MODEL=%s is loaded instead.", name, settings.model)
        except ModelUnavailable as error:
            logger.error("%s; MODEL=%s is loaded instead.", str(error).rstrip("."), settings.model)
        else:
            return pool
        if pool.group is not None:
            pool.group.tend()  # it may have cost the other cards
    _load(pool, pool.find(settings.model, report), report, send, configured_model)
    return pool


def _load(pool: ModelPool, found: FoundModel, report: Report, send: Send, before: InitialModel | None) -> None:
    """Load a model as the engine before had it; the choice is sent first, since loading may kill this engine."""
    if before is not None:
        found = _as_before(found, before, report)
    plan, plan_reason = found.plan()
    tiling = bool(found.settings.vae_tiling)
    choice = InitialModel(found.name, found.reason, plan.name, plan_reason, tiling, was_loaded=False)
    send(ModelChosen(choice=choice), b"")
    pool.load(found, report, has_fitted=before is not None and before.was_loaded)


def _as_before(found: FoundModel, before: InitialModel, report: Report) -> FoundModel:
    """Return a model with the reason and the memory plan that it had, the latter where its memory comes free."""
    tiled = {"vae_tiling": True} if before.vae_tiling and found.settings.vae_tiling is None else {}
    found = replace(found, reason=before.reason, settings=found.settings.model_copy(update=tiled))
    if before.memory_plan == "auto":
        return found  # no engine has had it here, whose memory were to be waited for
    fitted = replace(found, before=before)
    if _comes_free(fitted, report):
        return fitted
    logger.warning("The memory for MEMORY=%s did not come free; MEMORY=auto chooses again.", before.memory_plan)
    return found


def _comes_free(found: FoundModel, report: Report) -> bool:
    """Wait until the memory of the engine before is free; return False where it does not come."""
    deadline = time.monotonic() + MEMORY_WAIT_SECONDS
    waits = False
    while True:
        try:
            found.plan()
        except ModelUnavailable:
            if time.monotonic() > deadline:
                return False
        else:
            return True
        if not waits:
            waits = True
            report("waiting", f"{found.name} waits until the memory of the last engine is free.", None)
        time.sleep(POLL_SECONDS)
