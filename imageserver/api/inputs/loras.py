"""The LoRAs that a request names, with their scales, and the values that their profiles recommend."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from imageserver.api.inputs.validation import BlanksLeftOut, blanks_left_out, shown
from imageserver.errors import InvalidParameter
from imageserver.generation import Lora
from imageserver.lora_folder import LoraFile, LoraFolder

MAX_STACKED_LORAS = 8
MAX_SCALE = 10.0


class LoraChoice(BlanksLeftOut, strict=True, extra="forbid", json_schema_extra=blanks_left_out):
    """One LoRA of a request."""

    name: str = Field(min_length=1, max_length=200, description="One of /v1/loras.")
    scale: Annotated[float, Field(ge=-MAX_SCALE, le=MAX_SCALE, allow_inf_nan=False)] | None = Field(
        None, description="Its strength; 1 if its profile says nothing else."
    )


@dataclass(frozen=True)
class Stack:
    """LoRAs in the order of their names; the first profile that recommends a value decides it."""

    loras: tuple[Lora, ...] = ()
    files: tuple[LoraFile, ...] = ()

    @property
    def steps(self) -> int | None:
        """The recommended number of steps."""
        return next((steps for file in self.files if (steps := file.profile.num_inference_steps)), None)

    @property
    def guidance(self) -> float | None:
        """The recommended classifier-free guidance."""
        return next((each for file in self.files if (each := file.profile.true_cfg_scale) is not None), None)

    @property
    def scheduler(self) -> str | None:
        """The name of the recommended scheduler; a whole configuration is left to the engine."""
        wanted = next((each for file in self.files if (each := file.profile.scheduler) is not None), None)
        return wanted if isinstance(wanted, str) else None


def read_stack(chosen: Sequence[LoraChoice], folder: LoraFolder) -> Stack:
    """Return the stack; raises InvalidParameter for a LoRA that is missing or named twice."""
    stack = sorted(((choice, folder.find(choice.name)) for choice in chosen), key=lambda pair: pair[1].name)
    names = [file.name for _, file in stack]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidParameter(f"loras: {shown(twice)} is named twice.", param="loras")
    loras = tuple(
        Lora(
            name=file.name,
            digest=file.digest,
            scale=file.profile.scale if choice.scale is None else choice.scale,
            hub_id=file.hub_id,
        )
        for choice, file in stack
    )
    return Stack(loras, tuple(file for _, file in stack))
