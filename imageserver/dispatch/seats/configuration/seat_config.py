"""What a seat is made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class SeatConfig:
    """A place for one engine.

    The engine gets `device` as its DEVICE; `cuda:0+cuda:1` is a group, which the engine builds itself. `engine_module`
    is the Python module that runs as the engine process: the engine itself, or a stand-in for one on another machine.
    `environment` returns what each start of it adds to its environment. `name` tells the seats of a server apart, also
    in metrics. `is_far` says that the process only stands for the engine.
    """

    name: str
    device: str
    engine_module: str
    environment: Callable[[], Mapping[str, str]] = dict
    is_far: bool = False
