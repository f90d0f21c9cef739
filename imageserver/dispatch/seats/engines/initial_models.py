"""The model that each new engine of a seat begins with."""

from dataclasses import replace
from pathlib import Path

from imageserver.dispatch.seats.engines.machine_choices import MachineChoices
from imageserver.protocol.initial_model import InitialModel, read_initial_model


class InitialModels:
    """Remembers what the settings meant at first, and the default model that clients have chosen since."""

    def __init__(self, file: Path | None, machines: MachineChoices | None = None) -> None:
        """Keep what MODEL=auto meant at first in `file`, which outlives this dispatcher.

        `machines` is what it meant on other machines; seats there share it, for it outlives them.
        """
        self._file = file
        self._machines = machines or MachineChoices()
        self.configured = read_initial_model(file) if file else None
        self.chosen: InitialModel | None = None

    def on(self, machine: str) -> InitialModel | None:
        """Return what the settings have meant on another machine, as far as any seat knows by now."""
        return self._machines.on(machine)

    def record(self, model: InitialModel, machine: str = "") -> None:
        """Record the model that an engine on a machine begins with.

        What the settings meant at first stays for all later ones of that machine, once it was loaded.
        """
        model = replace(model, machine=machine)
        if self.chosen is not None and self.chosen.name == model.name:
            if model.is_better_than(self.chosen):
                self.chosen = model
            return
        if model.was_loaded:
            self.chosen = None  # it could not be loaded again, or nobody has chosen one
        if machine:
            self._machines.record(model)
        elif model.is_better_than(self.configured):
            self.configured = model
            if self._file is not None:
                model.write(self._file)

    def forget(self, machine: str) -> None:
        """Let the next engine on another machine choose again: it has left, or could not use what it had chosen."""
        self._machines.forget(machine)
