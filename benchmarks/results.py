"""The results of a run: JSON on the disk, and back."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import Bar, Figure

FOLDER = Path(__file__).parent / "results"
FILE = "latest.json"


@dataclass(frozen=True)
class Results:
    """The results of a run; `measurements` by device and scenario, `problems` say what was not measured."""

    machine: dict[str, Any]
    conditions: dict[str, Any]
    figures: list[Figure]
    measurements: dict[str, dict[str, Any]]
    problems: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> Path:
        """Write the JSON file and return it."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / FILE
        file.write_text(json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n")
        return file


def read_results(file: Path) -> Results:
    """Return the results in a file; raises FileNotFoundError before the first run."""
    content = json.loads(file.read_text())
    figures = [
        Figure(**{**figure, "bar": Bar(**figure["bar"]) if figure["bar"] else None}) for figure in content["figures"]
    ]
    return Results(content["machine"], content["conditions"], figures, content["measurements"], content["problems"])
