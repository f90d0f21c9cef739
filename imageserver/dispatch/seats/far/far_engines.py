"""The engines of seats on other machines, and what MODEL=auto has meant on each of those machines."""

from pathlib import Path

from imageserver.dispatch.seats.configuration.seat_config import SeatConfig
from imageserver.dispatch.seats.engines.engine_process import EngineProcess
from imageserver.dispatch.seats.engines.machine_choices import MachineChoices
from imageserver.protocol.channel import Address
from imageserver.settings import Settings


class FarEngines:
    """Opens the engine of each far seat.

    A seat ends with its engine. The next one on that machine may come before the memory of the dead one is free, and
    would choose a smaller model, or the demo model, by what is free then: so it is told what the dead one had chosen.
    """

    def __init__(self, settings: Settings, address: Address, choices_file: Path) -> None:
        """Keep what the machines choose in `choices_file`, which outlives this dispatcher."""
        self._settings = settings
        self._address = address
        self._choices = MachineChoices(choices_file)

    def open(self, config: SeatConfig) -> EngineProcess:
        return EngineProcess(self._settings, self._address, config, choices=self._choices)
