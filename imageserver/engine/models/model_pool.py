"""The loaded models, and the device and step scheduler that they share."""

import dataclasses
import gc
import logging
import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

import msgspec
import torch

from imageserver.engine import caching
from imageserver.engine.batching.served_model import ServedModel
from imageserver.engine.batching.step_scheduler import Send, StepScheduler, Trace, no_trace
from imageserver.engine.card_group.card_group import CardGroup
from imageserver.engine.devices import devices, memory_plans
from imageserver.engine.devices.memory import held_memory, peak_memory
from imageserver.engine.devices.plan_choice import Room
from imageserver.engine.downloads import ModelUnavailable, Report
from imageserver.engine.models.compiling.recompilations import Recompilations
from imageserver.engine.models.licence import restriction
from imageserver.engine.models.load_errors import explaining_load_errors
from imageserver.engine.models.model_choice import CONFIGURED_MODEL_ONLY, FoundModel, choose_model, find
from imageserver.engine.models.on_cards.refusal import refuse_if_divided, refusing_without_cards
from imageserver.engine.models.warmup import load_and_warm_up
from imageserver.engine.pipelines.method_caches import clear_method_caches
from imageserver.engine.pipelines.texts.token_counts import TokenUsage
from imageserver.engine.runner.lora_adapters import LoraAdapters
from imageserver.engine.runner.safety_checker import open_checker
from imageserver.errors import Busy
from imageserver.generation import Generation, ModelInfo
from imageserver.protocol.messages import DeviceUsage, GroupUse, Run
from imageserver.settings import Settings

logger = logging.getLogger(__name__)


class ModelPool:
    """The loaded models by name, the last used at the end."""

    def __init__(
        self, settings: Settings, send: Send, report: Report, trace: Trace = no_trace, group: CardGroup | None = None
    ) -> None:
        """Open it without a model, on one device or a group; raises ModelUnavailable or DeviceUnavailable."""
        # For the whole thread: the no_grad blocks of interleaved pipelines would restore the wrong state.
        torch.set_grad_enabled(False)
        caching.refuse_unusable(settings)
        self._settings = settings
        self.group = group
        self._device = devices.choose(settings.device)
        devices.make_current(self._device)
        self._models: OrderedDict[str, ServedModel] = OrderedDict()
        self._info: dict[str, ModelInfo] = {}
        self._has_served = False
        self._recompilations = Recompilations(self._rehearsed_graphs) if settings.compile else None
        self._configured = choose_model(settings, self._device).model
        self.step_scheduler = StepScheduler(
            self._models,
            send,
            # One thread: images are sent in the order in which they finished.
            in_background=ThreadPoolExecutor(
                1, thread_name_prefix="finish", initializer=devices.make_current, initargs=(self._device,)
            ).submit,
            peak_memory=peak_memory(self._device),
            safety=open_checker(settings, report),
            release_memory=self._release_memory,
            trace=trace,
        )

    @property
    def loaded(self) -> tuple[ModelInfo, ...]:
        """The info of every loaded model, the last used at the end."""
        return tuple(self._info[name] for name in self._models)

    def served_model(self, name: str) -> ServedModel:
        """Return a loaded model; raises KeyError for any other."""
        return self._models[name]

    def find(self, name: str, report: Report, *, fetch: bool = True) -> FoundModel:
        """Find a model's files, downloading them if `fetch` is set; may run beside a generation.

        Raises ModelUnavailable.
        """
        settings = self._settings
        if not fetch:
            settings = settings.model_copy(update={"offline": True})
        if name not in (settings.model, self._configured):
            settings = settings.model_copy(update=CONFIGURED_MODEL_ONLY)
        cards = self.group.started if self.group is not None else ()
        found = find(settings.model_copy(update={"model": name}), report, self._reclaimable(), cards)
        if self.group is not None:
            found = dataclasses.replace(found, cards=self.group.started)
        if name == settings.model:
            # The choice of MODEL=auto depends on the memory that is free at the moment.
            self._configured = found.name
        return found

    def usage(self) -> DeviceUsage:
        """Return the device's totals so far."""
        allocated, reserved = held_memory(self._device)
        usage = msgspec.structs.replace(
            self.step_scheduler.usage(),
            recompilations=self._recompilations.count() if self._recompilations else 0,
            allocated=allocated,
            reserved=reserved,
        )
        if self.group is None:
            return usage
        group = GroupUse(cards=len(self.group.in_use), lost=self.group.losses, reason=self.group.reason)
        return msgspec.structs.replace(usage, group=group)

    def _rehearsed_graphs(self) -> int:
        adapters = [model.adapters for model in self._models.values()]
        return sum(each.rehearsed_graphs for each in adapters if each is not None)

    def load(self, found: FoundModel, report: Report, *, has_fitted: bool = False) -> ModelInfo:
        """Load a model; raises ModelUnavailable and leaves the others unchanged.

        `has_fitted` says that the engine before this one has generated with it.
        """
        with self._expecting_compilations():
            return self._load(found, report, has_fitted)

    def _load(self, found: FoundModel, report: Report, has_fitted: bool) -> ModelInfo:
        failure = None
        try:
            with (
                explaining_load_errors(found.name, found.folder),
                refusing_without_cards(self.group, found.name, is_first=not self._has_served, has_fitted=has_fitted),
            ):
                if sentence := restriction(found.entry.source, found.settings.registry()):
                    logger.warning(sentence)
                served, info = load_and_warm_up(found, report, self.group)
        except ModelUnavailable as error:
            # Without its cause, whose traceback refers to what was loaded until then.
            failure = ModelUnavailable(str(error))
        if failure is not None:
            if self.group is not None:
                self.group.unload(found.name)
            self._collect()
            raise failure
        info = dataclasses.replace(info, pid=os.getpid())
        if info.name != self._configured:
            info = dataclasses.replace(info, reason=f"{info.name} was asked for by a client.")
        self._models[info.name], self._info[info.name] = served, info
        self._has_served = True
        logger.info("%s is ready on %s after %.1f s.", info.name, info.device.gpu, info.load_time)
        return info

    def is_loaded(self, name: str) -> bool:
        return name in self._models

    def make_room(self, found: FoundModel) -> bool:
        """Unload the least recently used models until a model fits; return False while running images need them.

        Raises ModelUnavailable where it would not fit even on its own.
        """
        reclaimable = self._reclaimable()
        if self.group is not None and self.group.is_broken:
            refuse_if_divided(found, self.group, reclaimable)
        found.plan(reclaimable)
        while not self._fits_beside(found):
            idle = next((name for name, model in self._models.items() if not self.step_scheduler.uses(model)), None)
            if idle is None:
                # With nothing left to unload, it is loaded with any plan that fits.
                return not self._models
            logger.info("%s is unloaded to make room for %s.", idle, found.name)
            self._forget(idle)
        return True

    def unload(self, name: str) -> None:
        """Free the memory of a model; raises Busy while running generations use it, ignores an unknown name."""
        if name not in self._models:
            return
        # No local variable for the model: it would keep the weights alive while they are collected.
        if self.step_scheduler.uses(self._models[name]):
            raise Busy("Running generations use this model; unload it later.", param="model", retry_after=5)
        self._forget(name)
        logger.info("%s is unloaded.", name)

    def add(self, request: Run, source: bytes, lora_time: float = 0.0) -> None:
        """Add a job, for which LoRAs were loaded in `lora_time` seconds; its model counts as used now."""
        if request.generation.model in self._models:
            self._models.move_to_end(request.generation.model)
        self.step_scheduler.add(request, source, lora_time)

    def adapters_of(self, name: str) -> LoraAdapters | None:
        """Return a model's LoRAs; None where it is not loaded or cannot use any."""
        model = self._models.get(name)
        return model.adapters if model else None

    def token_usage(self, generation: Generation) -> TokenUsage | None:
        """Return the tokens that a generation would use; None where its model is not loaded."""
        model = self._models.get(generation.model)
        return model.runner.token_usage(generation) if model else None

    def _fits_beside(self, found: FoundModel) -> bool:
        """Return whether a model fits beside the others with the plan that it would have on its own."""
        most = self._settings.max_loaded_models
        if most and len(self._models) >= most:
            return False
        plan = memory_plans.PLANS[0] if found.memory == "auto" else memory_plans.BY_NAME[found.memory]
        cards = max(1, len(found.cards))
        return Room(found.weights, found.dtype, found.device, found.pixels, cards=cards).fits(plan)

    def _reclaimable(self) -> int:
        """Return the bytes of the loaded models, which would be unloaded for another one; may run beside a load."""
        return sum(int(info.size_mb * devices.MIB) for info in list(self._info.values()))

    def _release_memory(self) -> None:
        for model in self._models.values():
            if model.captured is not None:
                model.captured.clear()
        devices.release_cached(self._device)

    def _forget(self, name: str) -> None:
        clear_method_caches(self._models[name].runner.denoiser)
        if self.group is not None:
            self.group.unload(name)
        with self._expecting_compilations():
            del self._models[name], self._info[name]
        self._collect()

    def _expecting_compilations(self) -> AbstractContextManager[None]:
        return self._recompilations.expected() if self._recompilations else nullcontext()

    def _collect(self) -> None:
        # Hooks and gates form reference cycles with their models.
        gc.collect()
        devices.release_cached(self._device)
