"""Every parser of foreign bytes is fuzzed for some seconds, or minutes with QIS_FULL=1."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.fuzzing.parsers import PARSERS
from tests.support.paths import ROOT

SECONDS = 240 if "QIS_FULL" in os.environ else 4


@pytest.mark.long
@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris exists for Linux on x86-64 only")
@pytest.mark.timeout(SECONDS * len(PARSERS) + 120)
def test_no_parser_raises_anything_but_its_own_refusals() -> None:
    command = [sys.executable, "-m", "tests.fuzzing", *PARSERS, "--seconds", str(SECONDS)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, errors="replace")
    assert ended.returncode == 0, ended.stderr[-5000:]
    assert ended.stderr.count("Done ") == len(PARSERS)
