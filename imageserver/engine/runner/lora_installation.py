"""Place what a LoRA file contains beside the layers of a pipeline, by diffusers and peft.

Source: diffusers `loaders/peft.py`, `loaders/lora_base.py` (0.42).
"""

import warnings
from collections.abc import Mapping

import torch

from imageserver.engine.lora_formats.part_adapter import PartAdapter
from imageserver.engine.pipelines.types import Pipeline
from imageserver.engine.runner.kronecker_sizes import sizes_of_the_file

# Several adapters at a time are intended; the names in the file decide, and one may end like another layer's; nothing
# is merged: only that would need a layer with a bias of its own; and which one is used is said before each forward.
HARMLESS = (
    "Already found a `peft_config` attribute", "While injecting the PEFT adapters", "`lora_bias=True` was passed",
    "Adapter .* was active which is now deleted",
)  # fmt: skip


class NotInstalled(Exception):
    """peft has placed a LoRA in other layers than it was told to."""


def install(pipeline: Pipeline, denoiser: str, adapters: Mapping[str, PartAdapter], name: str) -> None:
    """Add the adapters of a file under a name; raises NotInstalled, or whatever diffusers and peft raise."""
    with warnings.catch_warnings():
        for harmless in HARMLESS:
            warnings.filterwarnings("ignore", harmless)
        try:
            for part, adapter in adapters.items():
                if part == denoiser:
                    with sizes_of_the_file(getattr(pipeline, denoiser), adapter.tensors):
                        _add_to_denoiser(pipeline, denoiser, adapter, name)
                else:
                    _add_to_text_encoder(pipeline, part, adapter, name)
                _check(getattr(pipeline, part), adapter, name)
        except Exception:
            if getattr(pipeline, "_all_hooks", ()):
                # diffusers has taken those of model-offload off, and puts them on again only where it succeeds.
                pipeline.maybe_free_model_hooks()
            raise


def _add_to_denoiser(pipeline: Pipeline, denoiser: str, adapter: PartAdapter, name: str) -> None:
    getattr(pipeline, denoiser).load_lora_adapter(
        dict(adapter.tensors), prefix=None, adapter_name=name, metadata=dict(adapter.config),
        low_cpu_mem_usage=True, _pipeline=pipeline,
    )  # fmt: skip


def _add_to_text_encoder(pipeline: Pipeline, part: str, adapter: PartAdapter, name: str) -> None:
    pipeline.load_lora_into_text_encoder(
        {f"{part}.{_older_name(key)}": tensor for key, tensor in adapter.tensors.items()},
        network_alphas=None, text_encoder=getattr(pipeline, part), prefix=part, adapter_name=name,
        metadata={f"{part}.{key}": value for key, value in adapter.config.items()},
        low_cpu_mem_usage=True, _pipeline=pipeline,
    )  # fmt: skip


def _older_name(name: str) -> str:
    """Return diffusers' older name: of peft's, it reads those of attentions only in a text encoder."""
    return name.replace(".lora_A.", ".lora_linear_layer.down.").replace(".lora_B.", ".lora_linear_layer.up.")


def _check(part: torch.nn.Module, adapter: PartAdapter, name: str) -> None:
    """Raise NotInstalled unless every layer has its matrices: peft only warns of what is left over."""
    found = sum(
        name in getattr(module, "lora_A", ()) or name in getattr(module, "_available_adapters", ())
        for module in part.modules()
    )
    if found != adapter.layers:
        raise NotInstalled(f"{found} of its {adapter.layers} layers were placed in the model")
    if any(tensor.is_meta for key, tensor in part.named_parameters() if name in key.split(".")):
        raise NotInstalled("some of its matrices were not placed in the model")
