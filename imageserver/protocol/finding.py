"""What `doctor` found out about one thing; the engine's part of it comes from a process of its own, as JSON lines."""

import json
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One sentence about one thing; with a `problem` the server cannot serve, and its sentence says what to do."""

    name: str
    state: Literal["ok", "warning", "problem"]
    sentence: str

    def write(self) -> str:
        return json.dumps(asdict(self))


def read_finding(line: str) -> Finding | None:
    """Return the finding in a line of output, None where a library has written it."""
    try:
        return Finding(**json.loads(line))
    except (ValueError, TypeError):
        return None
