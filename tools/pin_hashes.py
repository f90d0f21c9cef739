"""Write deploy/hashes.txt: the hashes of what constraints.txt pins, and of uv, which checks them in the container.

It needs uv and the package index. PyTorch is left out: its build for each platform comes from an index of its own.
"""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
OUTPUT = "deploy/hashes.txt"


def main() -> int:
    command = [
        sys.executable, "-m", "uv", "pip", "compile", "-", "constraints.txt", "--no-deps", "--universal",
        "--python-version", "3.11", "--no-emit-package", "torch", "--generate-hashes", "--no-annotate", "--quiet",
        "--output-file", OUTPUT,
    ]  # fmt: skip
    environment = os.environ | {"UV_CUSTOM_COMPILE_COMMAND": "python tools/pin_hashes.py"}
    return subprocess.run(command, input=f"uv=={version('uv')}\n", text=True, cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
