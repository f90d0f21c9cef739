"""LoRAs on the loaded model: peft keeps them beside its weights; they are switched between forwards and never fused."""

import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import torch

from imageserver.engine.device_errors import drop_frames, is_lost, is_out_of_memory
from imageserver.engine.lora_formats.adapter import Reserve, read_adapter
from imageserver.engine.lora_formats.model_layers import ModelLayers
from imageserver.engine.lora_formats.part_adapter import PartAdapter
from imageserver.engine.lora_formats.refused import LoraRefused
from imageserver.engine.pipelines.types import Pipeline
from imageserver.engine.runner.lora_installation import install
from imageserver.engine.runner.read_loras import ReadLoras
from imageserver.errors import InvalidParameter, OutOfMemory, ServiceError
from imageserver.generation import Lora, MemoryPlanName
from imageserver.lora_folder import LoraFile, LoraFolder

logger = logging.getLogger(__name__)

# Beyond this the least recently used one is unloaded.
MAX_LOADED = 16
# LoRAs stay unquantized beside weights of 8 bits. With weights of 4 bits and with parts on several cards they have not
# been tried; peft refuses float8, and accelerate's layer by layer offloading fails on a CPU with and without them.
PLANS_WITH_LORAS: tuple[MemoryPlanName, ...] = (
    "full", "int8", "encoder-offload", "model-offload", "int8-offload", "group-offload", "tensor-parallel",
)  # fmt: skip
# What is compiled for a LoRA is computed outside of a pipeline call, whose end would move weights off the device again.
COMPILED_PLANS_WITH_LORAS: tuple[MemoryPlanName, ...] = ("full", "int8")

DOES_NOT_FIT = "does not fit the model"


class LoraAdapters:
    """The LoRAs that are loaded, by the digest of their content."""

    def __init__(
        self, pipeline: Pipeline, denoiser: str, folder: LoraFolder, refusal: str = "",
        reinstall_gate: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Serve `pipeline`; with a `refusal`, every request for a LoRA fails with that sentence.

        `reinstall_gate` is called where diffusers has taken its hooks off the denoiser to load a LoRA, and put them on
        again: the gate that stood before them is gone.
        """
        self._reinstall_gate = reinstall_gate
        self._pipeline = pipeline
        self._denoiser = denoiser
        self._folder = folder
        self._refusal = refusal
        self._layers = ModelLayers(_parts_with_loras(pipeline), denoiser)
        self._loaded: OrderedDict[str, LoraFile] = OrderedDict()
        self._read = ReadLoras(self._understood, self._loaded.__contains__)
        self._of_text: set[str] = set()
        self._active: tuple[Lora, ...] | None = ()
        self._changes = 0
        # Computes with the LoRAs that are in use, where that must be compiled.
        self.rehearse: Callable[[], None] | None = None
        self.rehearsed_graphs = 0
        self._rehearsed: set[Hashable] = set()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(file.name for file in self._loaded.values()))

    def weights(self) -> tuple[Hashable, Hashable]:
        """Return a version that changes with every LoRA that is loaded or unloaded, and those that are in use."""
        return self._changes, self._active

    @property
    def attached(self) -> tuple[str, ...]:
        """The adapters of the denoiser, by peft's names."""
        return tuple(map(_adapter, self._loaded))

    @property
    def in_use(self) -> tuple[tuple[str, float], ...]:
        """The adapters that it computes with, each with its scale."""
        return tuple((_adapter(each.digest), each.scale) for each in self._active or ())

    def count_graphs(self, graphs: int) -> None:
        """Count graphs that a rehearsal has compiled."""
        self.rehearsed_graphs += graphs

    def is_loaded(self, lora: Lora) -> bool:
        return lora.digest in self._loaded

    def read(self, lora: Lora, reserve: Reserve = contextlib.nullcontext) -> None:
        """Read a LoRA's file, so that loading it only has to place what it contains; safe on any thread.

        It waits until `reserve` has given the memory for that.
        Raises InvalidParameter for one that is missing or does not fit the model.
        """
        if self._refusal or not hasattr(self._pipeline, "load_lora_weights"):
            return
        file = self._current(lora)
        with _explained(file):
            self._read.add(file, reserve)

    def load(self, lora: Lora) -> None:
        """Load a LoRA that is not loaded yet; one that fails leaves no trace, and pushes out no other.

        Raises InvalidParameter for one that does not fit the model, OutOfMemory for one that does not fit its memory.
        """
        if lora.digest in self._loaded:
            self._loaded.move_to_end(lora.digest)
            return
        if self._refusal:
            raise InvalidParameter(self._refusal, param="loras")
        if not hasattr(self._pipeline, "load_lora_weights"):
            raise InvalidParameter("loras: diffusers has no LoRA loader for this model.", param="loras")
        in_use = self._active or ()
        try:
            file = self._current(lora)
            self._attach(file, in_use)
        finally:
            # Only now, so that no other thread reads it again; nor is what another has read since then needed.
            self._read.drop(lora.digest)
        with self._refusing(file, in_use):
            if self.rehearse is not None:
                self._prepare((lora,))
            # For that moment there is one more in memory.
            while len(self._loaded) > MAX_LOADED:
                self._detach(next(iter(self._loaded)))
            if self.rehearse is not None:
                # Requests without LoRAs need it too: the layers of the model have other classes now.
                self._prepare((lora,))
                self._prepare(())
        self._use_again(in_use)
        logger.info("LoRA %s is loaded.", file.name)

    def unload(self, name: str) -> None:
        """Unload every version of a LoRA; after the last LoRA the model is as it was before the first."""
        self._read.retry_refused()
        for digest in [digest for digest, file in self._loaded.items() if file.name == name]:
            in_use = self._active or ()
            self._detach(digest)
            logger.info("LoRA %s is unloaded.", name)
            self._use_again(in_use)

    def use(self, loras: tuple[Lora, ...]) -> None:
        """Make the model compute with exactly these LoRAs from now on, loading those that are missing.

        What cannot be rehearsed is tried in the forward itself: other images may need it.
        """
        self._switch(loras)
        if self.rehearse is not None:
            with _logged("LoRAs in use cannot be rehearsed."):
                self._rehearse_once(loras)
            self._rehearsed.add(_digests(loras))

    def use_for_text(self, loras: tuple[Lora, ...]) -> None:
        """Load what is missing, and make the text encoder compute with exactly these LoRAs.

        Where none of them changes it, nothing is switched: for Qwen-Image that takes 30 to 90 ms of everybody's time.
        """
        for lora in loras:
            self.load(lora)
        if self.rehearse is not None and loras:
            # What several at a time need is compiled now, not in a step.
            try:
                self._prepare(loras)
            except Exception as error:
                names = ", ".join(each.name for each in loras)
                raise _refusal(error, names, f"the model cannot use {names}") from error
        if self._of_text and (self._active is None or self.text_scope(self._active) != self.text_scope(loras)):
            self.use(loras)

    def text_scope(self, loras: tuple[Lora, ...]) -> Hashable:
        """Return the LoRAs that change a text encoder: a prompt's embeddings depend on them."""
        return tuple(each for each in loras if each.digest in self._of_text)

    def scheduler_config(self, loras: tuple[Lora, ...]) -> dict[str, Any]:
        """Return the changes to the noise scheduler in the first of the LoRAs' profiles that has any."""
        profiles = (self._loaded[each.digest].profile for each in loras)
        return next((each.scheduler for each in profiles if isinstance(each.scheduler, dict)), {})

    def _use_again(self, in_use: tuple[Lora, ...]) -> None:
        """Rehearse what other images need after a change, at the expense of whoever has asked for the change.

        `in_use` is what they have used before.
        """
        for loras in ((), in_use) if self.rehearse is not None else ():
            if all(map(self.is_loaded, loras)):
                with _logged("LoRAs cannot be rehearsed again."):
                    self._prepare(loras)

    def _prepare(self, loras: tuple[Lora, ...]) -> None:
        """Use LoRAs, and rehearse them; raises whatever prevents that."""
        self._switch(loras)
        self._rehearse_once(loras)

    def _switch(self, loras: tuple[Lora, ...]) -> None:
        if loras == self._active:
            return
        for lora in loras:
            self.load(lora)
        self._active = None
        if loras:
            self._pipeline.enable_lora()
            self._pipeline.set_adapters([_adapter(each.digest) for each in loras], [each.scale for each in loras])
        elif self._loaded:
            self._pipeline.disable_lora()
        else:
            # Only where the last one could not be taken off whole.
            self._pipeline.unload_lora_weights()
        self._active = loras

    def _rehearse_once(self, loras: tuple[Lora, ...]) -> None:
        """Rehearse LoRAs that have not been in use since one was loaded or unloaded; scales compile nothing."""
        if self.rehearse is not None and _digests(loras) not in self._rehearsed:
            self.rehearse()
            self._rehearsed.add(_digests(loras))

    def _current(self, lora: Lora) -> LoraFile:
        """Return a LoRA's file; raises InvalidParameter for one that is gone or has another content by now."""
        file = self._folder.find(lora.name)
        if file.digest != lora.digest:
            raise InvalidParameter(f"loras: {lora.name} has just been replaced; send the request again.", param="loras")
        return file

    def _attach(self, file: LoraFile, in_use: tuple[Lora, ...]) -> None:
        with _explained(file):
            adapters = self._read.get(file.digest) or self._understood(file)
        self._forget_state()
        try:
            with self._refusing(file, in_use):
                install(self._pipeline, self._denoiser, adapters, _adapter(file.digest))
        finally:
            self._reinstall_gate()
        if adapters.keys() != {self._denoiser}:
            self._of_text.add(file.digest)
        self._loaded[file.digest] = file

    @contextlib.contextmanager
    def _refusing(self, file: LoraFile, in_use: tuple[Lora, ...]) -> Iterator[None]:
        """Take a LoRA off again, and raise what its request is told, for whatever prevents that the model has it."""
        try:
            yield
        except ServiceError:
            raise
        except Exception as error:
            # What the checks of the file let through makes peft and torch.compile raise any of a dozen errors.
            refusal = _refusal(error, file.name, f"{file.name} {DOES_NOT_FIT}")
            self._uninstall(file.digest)
            self._use_again(in_use)
            if not isinstance(refusal, OutOfMemory):
                self._read.refuse(file.digest, f"{DOES_NOT_FIT}: {_reason(error)}")
            raise refusal from error

    def _understood(self, file: LoraFile, reserve: Reserve = contextlib.nullcontext) -> Mapping[str, PartAdapter]:
        """Return the adapters that a file contains; the model is not touched. Raises LoraRefused or OSError."""
        adapters = read_adapter(file.path, self._layers, reserve)
        if self._denoiser not in adapters:
            raise LoraRefused("changes only a text encoder")
        return adapters

    def _detach(self, digest: str) -> None:
        self._read.retry_refused()
        self._uninstall(digest)

    def _uninstall(self, digest: str) -> None:
        """Take a LoRA off, and all others where that fails: they are loaded again when an image needs them."""
        self._forget_state()
        self._loaded.pop(digest, None)
        try:
            self._remove(_adapter(digest))
        except Exception as error:
            if is_lost(error) or not self._loaded:
                raise
            logger.warning("A LoRA cannot be taken off alone; all are unloaded.", exc_info=error)
            drop_frames(error)
            self._loaded.clear()
            self._remove(_adapter(digest))
        finally:
            self._of_text.intersection_update(self._loaded)
            self._reinstall_gate()

    def _forget_state(self) -> None:
        """Forget what the model computes with, as one is placed or taken off."""
        self._active = None
        self._changes += 1
        self._rehearsed.clear()

    def _remove(self, adapter: str) -> None:
        if not self._loaded:
            # Restores the model's own layers where peft had wrapped them.
            self._pipeline.unload_lora_weights()
            self._active = ()
            return
        # For an adapter in use, peft would choose another by itself, with a warning.
        self._pipeline.set_adapters([_adapter(digest) for digest in self._loaded])
        self._pipeline.delete_adapters(adapter)


def open_adapters(
    pipeline: Pipeline, denoiser: str, folder: LoraFolder, *, compiled: bool, plan: MemoryPlanName,
    reinstall_gate: Callable[[], None] = lambda: None,
) -> LoraAdapters:  # fmt: skip
    """Return the adapters of a pipeline; some memory plans exclude them."""
    refusal = ""
    if compiled and plan not in COMPILED_PLANS_WITH_LORAS:
        known = " or ".join(f"MEMORY={name}" for name in COMPILED_PLANS_WITH_LORAS)
        refusal = f"loras: the model is fitted into memory by {plan}; with COMPILE=1 LoRAs need {known}."
    elif plan not in PLANS_WITH_LORAS:
        known = " or ".join(f"MEMORY={name}" for name in PLANS_WITH_LORAS)
        refusal = f"loras: the model is fitted into memory by {plan}; LoRAs need {known}."
    return LoraAdapters(pipeline, denoiser, folder, refusal, reinstall_gate)


def _adapter(digest: str) -> str:
    return f"lora_{digest[:24]}"


@contextlib.contextmanager
def _explained(file: LoraFile) -> Iterator[None]:
    """Raise InvalidParameter, with the file's name, for whatever prevents reading it."""
    try:
        yield
    except LoraRefused as error:
        raise InvalidParameter(f"loras: {file.name} {error}.", param="loras") from error
    except Exception as error:
        # A file can contain anything.
        raise InvalidParameter(f"loras: {file.name} cannot be read: {_reason(error)}.", param="loras") from error


def _refusal(error: Exception, names: str, unfit: str) -> ServiceError:
    """Return what the request for LoRAs that the model cannot take is told, and free what failed."""
    if is_lost(error):
        raise error
    logger.warning("LoRAs cannot be used (%s).", names, exc_info=error)
    drop_frames(error)
    if is_out_of_memory(error):
        return OutOfMemory(f"The device's memory cannot hold {names} beside the model.")
    return InvalidParameter(f"loras: {unfit}: {_reason(error)}.", param="loras")


@contextlib.contextmanager
def _logged(sentence: str) -> Iterator[None]:
    """Only log an error, unless the device is lost."""
    try:
        yield
    except Exception as error:
        if is_lost(error):
            raise
        logger.warning(sentence, exc_info=error)
        drop_frames(error)


def _digests(loras: tuple[Lora, ...]) -> Hashable:
    return tuple(each.digest for each in loras)


def _reason(error: Exception) -> str:
    """Return the first line of an error, or its kind, without the stop at its end."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def _parts_with_loras(pipeline: Pipeline) -> dict[str, torch.nn.Module]:
    """Return the parts whose LoRAs diffusers loads; none for a pipeline without a loader."""
    names = getattr(pipeline, "_lora_loadable_modules", ())
    return {name: part for name in names if isinstance(part := getattr(pipeline, name, None), torch.nn.Module)}
