"""A kind of server: how it is started and what it needs."""

import importlib.util
import os
import sys
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Kind:
    """`{port}` in `arguments` becomes the port; a kind whose `needs` is missing is left out with a message."""

    letter: str
    name: str
    label: str
    arguments: tuple[str, ...]
    needs: str = "flask"
    python: str = sys.executable
    ready_path: str = "/health"
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def is_installed(self) -> bool:
        """Whether it can be started here."""
        return importlib.util.find_spec(self.needs) is not None

    def command(self, port: int) -> list[str]:
        """Return the command line."""
        return [self.python, *(argument.format(port=port) for argument in self.arguments)]


def ours(python: str) -> Kind:
    """Return this project's server, as `start_server.sh` starts it but for the trace."""
    return Kind(
        letter="e",
        name="ours",
        label="qwen-image-server",
        arguments=("-m", "gunicorn", "-c", "gunicorn_config.py", "qwen_image_server:app"),
        python=python,
        ready_path="/readyz",
        # An open queue: a refused image would look like a fast one.
        environment={"ENGINE_MODULE": "benchmarks.traced_engine", "MAX_QUEUE": "1000", "LOG_LEVEL": "WARNING"},
    )


def project_python() -> str:
    """Return the interpreter of the project's own environment, which `python -m benchmarks` was started with."""
    return os.environ.get("BENCHMARK_PROJECT_PYTHON", sys.executable)
