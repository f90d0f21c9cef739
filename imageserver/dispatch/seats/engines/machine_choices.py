"""What MODEL=auto has meant on each other machine of a cluster, known to all seats and to a later dispatcher."""

import contextlib
import json
from dataclasses import asdict
from pathlib import Path

from imageserver.atomic_write import write_atomically
from imageserver.protocol.initial_model import InitialModel
from imageserver.registry import DEMO

# An autoscaling cluster may have a new machine every hour: of more, the one that was heard of least recently goes.
MAX_MACHINES = 256


class MachineChoices:
    """The choices by the labels of their machines; a seat ends with its engine, and the next one may be there."""

    def __init__(self, file: Path | None = None) -> None:
        """Keep them in `file`, which outlives this dispatcher."""
        self._file = file
        self._choices = {choice.machine: choice for choice in _read(file)} if file else {}

    def on(self, machine: str) -> InitialModel | None:
        """Return what the next engine on a machine begins with; None where it is to choose."""
        return self._choices.get(machine)

    def record(self, choice: InitialModel) -> None:
        """Keep the choice of its machine.

        The demo model is none: it generates where nothing fitted, and the next engine there may have more memory.
        """
        if choice.name == DEMO:
            return
        known = self._choices.pop(choice.machine, None)
        kept = choice if choice.is_better_than(known) else known
        assert kept is not None
        self._choices[choice.machine] = kept
        if len(self._choices) > MAX_MACHINES:
            del self._choices[next(iter(self._choices))]
        if kept is not known:
            self._write()

    def forget(self, machine: str) -> None:
        """Let the next engine on a machine choose again: it has left, or could not use what it had chosen."""
        if self._choices.pop(machine, None) is not None:
            self._write()

    def _write(self) -> None:
        """Keep them for a later dispatcher; without a place for them the machines choose again."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                content = json.dumps([asdict(choice) for choice in self._choices.values()])
                write_atomically(self._file, content.encode(), private=True)


def _read(file: Path) -> list[InitialModel]:
    try:
        return [InitialModel(**each) for each in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []
