"""Writes the far engine's log lines into this machine's log, each with its machine."""

import json
import logging
import sys

from imageserver.telemetry.logs import escape

logger = logging.getLogger(__name__)


class FarLog:
    """The log of one far engine, in the format of LOG_FORMAT."""

    def __init__(self, log_format: str, machine: str) -> None:
        self._is_json = log_format == "json"
        self.machine = machine

    def write(self, content: bytes | memoryview) -> None:
        """Write one line that the engine or a library in it has written."""
        line = escape(bytes(content).decode(errors="replace"))
        if self._is_json:
            line = self._labelled(line)
        else:
            line = f"[{self.machine}] {line}"
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def write_end(self, content: bytes | memoryview) -> None:
        """Log how the engine ended, with the last lines that it wrote."""
        end = json.loads(bytes(content))
        last = " | ".join(end["lines"])
        logger.warning("The engine on %s ended with status %d; its last lines: %s", self.machine, end["status"], last)

    def _labelled(self, line: str) -> str:
        try:
            fields = json.loads(line)
        except ValueError:
            fields = None
        if not isinstance(fields, dict):
            fields = {"level": "INFO", "name": "far_engine", "message": line}
        return json.dumps(fields | {"machine": self.machine})
