"""The models that the engine holds, the device they share, and the turns that are taken at it."""

import dataclasses
import gc
import logging
import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import torch

from imageserver.engine import caching
from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.batching.step_scheduler import Send, StepScheduler, Trace, no_trace
from imageserver.engine.devices import devices, memory_plans
from imageserver.engine.devices.memory import peak_memory
from imageserver.engine.downloads import ModelUnavailable, NotOnDisk, Report
from imageserver.engine.models.load_errors import explaining_load_errors
from imageserver.engine.models.model_choice import FoundModel, choose_model, find
from imageserver.engine.models.warmup import load_and_warm_up
from imageserver.engine.pipelines.token_counts import TokenUsage
from imageserver.engine.runner.safety_checker import open_checker
from imageserver.errors import Busy
from imageserver.generation import Generation, ModelInfo
from imageserver.protocol.messages import Run
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

# What the owner has made for, or chosen with a view to, the model that is loaded first.
CONFIGURED_MODEL_ONLY = {
    "transformer_file": None, "controlnet": "", "default_steps": None, "default_guidance_scale": None,
    "default_width": None, "default_height": None, "default_scheduler": "", "use_karras_sigmas": None,
}  # fmt: skip


class ModelPool:
    """The loaded models by name, the one that was used last at the end."""

    def __init__(self, settings: Settings, send: Send, report: Report, trace: Trace = no_trace) -> None:
        """Open it without a model; raises ModelUnavailable or DeviceUnavailable."""
        # For the whole thread: the no_grad blocks of interleaved pipelines would restore the wrong state.
        torch.set_grad_enabled(False)
        caching.refuse_unusable(settings)
        self._settings = settings
        self._device = devices.choose(settings.device)
        self._models: OrderedDict[str, ServedModel] = OrderedDict()
        self._info: dict[str, ModelInfo] = {}
        self._configured, _ = choose_model(settings.model, self._device)
        self.step_scheduler = StepScheduler(
            self._models,
            send,
            # One thread: images are sent in the order in which they were done.
            in_background=ThreadPoolExecutor(1, thread_name_prefix="finish").submit,
            peak_memory=peak_memory(self._device),
            safety=open_checker(settings, report),
            release_memory=lambda: devices.release_cached(self._device),
            trace=trace,
        )

    @property
    def loaded(self) -> tuple[ModelInfo, ...]:
        """What is told of the loaded models, the one that was used last at the end."""
        return tuple(self._info[name] for name in self._models)

    def served_model(self, name: str) -> ServedModel:
        """Return a loaded model; raises KeyError for any other."""
        return self._models[name]

    def find(self, name: str, report: Report, *, fetch: bool = True) -> FoundModel:
        """Find a model's files, with `fetch` on a hub where they have to be; may run beside a generation.

        Raises ModelUnavailable.
        """
        settings = self._settings
        if not fetch:
            settings = settings.model_copy(update={"offline": True})
        if name not in (settings.model, self._configured):
            settings = settings.model_copy(update=CONFIGURED_MODEL_ONLY)
        found = find(settings.model_copy(update={"model": name}), report)
        if name == settings.model:
            # What MODEL=auto takes depends on the memory that is free at the moment.
            self._configured = found.name
        return found

    def load(self, found: FoundModel, report: Report) -> ModelInfo:
        """Load a model; raises ModelUnavailable, and leaves the others as they were."""
        failure = None
        try:
            with explaining_load_errors(found.name, found.folder):
                warm = load_and_warm_up(found, report)
        except ModelUnavailable as error:
            # Without its cause, whose traceback holds what was loaded until then.
            failure = ModelUnavailable(str(error))
        if failure is not None:
            self._collect()
            raise failure
        info = dataclasses.replace(warm.info, pid=os.getpid())
        if info.name != self._configured:
            info = dataclasses.replace(info, reason=f"{info.name} was asked for by a client.")
        self._models[info.name], self._info[info.name] = warm.served, info
        logger.info("%s is ready on %s after %.1f s.", info.name, info.device.gpu, info.load_time)
        return info

    def is_loaded(self, name: str) -> bool:
        """Return whether a model is loaded."""
        return name in self._models

    def make_room(self, found: FoundModel) -> bool:
        """Unload what was used least recently until a model fits; return False while images must be done before.

        Raises ModelUnavailable where it would not fit even alone.
        """
        found.plan(reclaimable=sum(int(info.size_mb * devices.MIB) for info in self._info.values()))
        while not self._fits_beside(found):
            idle = next((name for name, model in self._models.items() if not self.step_scheduler.uses(model)), None)
            if idle is None:
                # With nothing left to unload it is loaded by whatever plan fits.
                return not self._models
            logger.info("%s leaves the memory for %s.", idle, found.name)
            self._forget(idle)
        return True

    def unload(self, name: str) -> None:
        """Free the memory of a model; raises Busy while running generations use it, ignores an unknown name."""
        if name not in self._models:
            return
        # No name of its own for the model here: it would keep the weights alive while they are collected.
        if self.step_scheduler.uses(self._models[name]):
            raise Busy("Running generations use this model; unload it later.", param="model", retry_after=5)
        self._forget(name)
        logger.info("%s is unloaded.", name)

    def add(self, request: Run, source: bytes) -> None:
        """Take a job; its model counts as used now."""
        if request.generation.model in self._models:
            self._models.move_to_end(request.generation.model)
        self.step_scheduler.add(request, source)

    def token_usage(self, generation: Generation) -> TokenUsage | None:
        """Return what its model would read of a generation, None where that is not loaded."""
        model = self._models.get(generation.model)
        return model.runner.token_usage(generation) if model else None

    def _fits_beside(self, found: FoundModel) -> bool:
        """Return whether a model fits beside the others as it would be if it were alone."""
        most = self._settings.max_loaded_models
        if most and len(self._models) >= most:
            return False
        plan = memory_plans.PLANS[0] if found.memory == "auto" else memory_plans.BY_NAME[found.memory]
        return memory_plans.fits(plan, found.weights, found.dtype, found.device)

    def _forget(self, name: str) -> None:
        del self._models[name], self._info[name]
        self._collect()

    def _collect(self) -> None:
        # Hooks and gates hold their models in circles.
        gc.collect()
        devices.release_cached(self._device)


def open_model_pool(
    settings: Settings, report: Report, send: Send, trace: Trace = no_trace, *, default_model: str = ""
) -> ModelPool:
    """Open a workshop with the model that clients have `chosen`, or with the one of the settings.

    The latter also where the chosen one cannot be loaded any more. Raises ModelUnavailable or DeviceUnavailable.
    """
    pool = ModelPool(settings, send, report, trace)
    if default_model:
        try:
            # Not fetched again: that may take hours, during which nobody would generate.
            pool.load(pool.find(default_model, report, fetch=False), report)
        except NotOnDisk:
            logger.error("%s is not on the disk any more; MODEL=%s is loaded instead.", default_model, settings.model)
        except ModelUnavailable as error:
            logger.error("%s; MODEL=%s is loaded instead.", str(error).rstrip("."), settings.model)
        else:
            return pool
    pool.load(pool.find(settings.model, report), report)
    return pool
