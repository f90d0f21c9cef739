"""The engine's part of `doctor`: `python -m imageserver.engine.models.inspection`, settings as JSON on stdin."""

import sys

from imageserver.engine.models.inspection.findings import inspect
from imageserver.settings import Settings


def main() -> None:
    for finding in inspect(Settings.model_validate_json(sys.stdin.buffer.read())):
        sys.stdout.write(finding.write() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
