"""Run tests/gpu, and say of each test whether it passed."""

import os
import re
import subprocess
import sys

from benchmarks.gpu.figures import say

OUTCOME = re.compile(r"^(PASSED|FAILED|ERROR|SKIPPED)\s+(.*)$")
PYTEST = (
    "-m", "pytest", "-p", "pytest_timeout", "-p", "pytest_socket", "tests/gpu", "-q", "-p", "no:cacheprovider",
    "--timeout", "90", "-rA",
)  # fmt: skip


def main() -> int:
    """Return pytest's exit status."""
    # Without the plug-ins that happen to be installed there.
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    ended = subprocess.run([sys.executable, *PYTEST], env=environment, capture_output=True, text=True)
    print(ended.stdout, ended.stderr, sep="\n", file=sys.stderr)
    for line in ended.stdout.splitlines():
        if found := OUTCOME.match(line):
            say("tests", found[2][:200], found[1].lower())
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main())
