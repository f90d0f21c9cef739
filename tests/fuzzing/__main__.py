"""Fuzz parsers, guided by the lines that their inputs reach: `python -m tests.fuzzing image form --seconds 60`.

An input that a parser does not survive is written to tests/fuzzing/inputs, where the unit tests read it again; the
parsers after it are not fuzzed.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["imageserver"]):
    from tests.fuzzing.parsers import PARSERS

INPUTS = Path(__file__).parent / "inputs"
MAX_BYTES = 8192
SECONDS_PER_INPUT = 10
MAX_MB = 1500


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("parsers", nargs="+", choices=PARSERS)
    arguments.add_argument("--seconds", type=int, default=60, help="how long each (default: 60)")
    given = arguments.parse_args()
    for name in given.parsers:
        # The fuzzer ends its process; what is imported by then has been instrumented for all of them.
        if child := os.fork():
            if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
                sys.exit(f"{name}: the fuzzer ended with {status}.")
        else:
            fuzz(name, given.seconds)


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one parser, and end the process."""
    parser = PARSERS[name]
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(parser.seeds):
            (Path(folder) / str(number)).write_bytes(seed)
        words = Path(folder).with_suffix(".words")
        words.write_text("".join(f'"{word}"\n' for word in parser.words))
        options = [
            sys.argv[0], folder, f"-dict={words}", f"-max_total_time={seconds}", f"-max_len={MAX_BYTES}",
            f"-timeout={SECONDS_PER_INPUT}", f"-rss_limit_mb={MAX_MB}", f"-artifact_prefix={INPUTS / name}-",
        ]  # fmt: skip
        atheris.Setup(options, parser.feed)
        atheris.Fuzz()


main()
