"""The model that each new engine of a seat begins with."""

from pathlib import Path

from imageserver.protocol.engine_config import InitialModel, read_initial_model


class InitialModels:
    """Remembers what the settings meant at first, and the default model that clients have chosen since."""

    def __init__(self, file: Path | None) -> None:
        """Keep what MODEL=auto meant at first in `file`, which outlives this dispatcher."""
        self._file = file
        self.configured = read_initial_model(file) if file else None
        self.chosen: InitialModel | None = None

    def record(self, model: InitialModel) -> None:
        """Record the model that an engine has begun with; what the settings meant at first stays for all later ones."""
        if self.chosen is not None and self.chosen.name == model.name:
            return
        self.chosen = None  # it could not be loaded again, or nobody has chosen one
        if self.configured is None:
            self.configured = model
            if self._file is not None:
                model.write(self._file)
