"""Fuzz one parser, guided by the lines that its inputs reach: `python -m tests.fuzzing image --seconds 60`.

An input that a parser does not survive is written to tests/fuzzing/inputs, where the unit tests read it again.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

INPUTS = Path(__file__).parent / "inputs"
MAX_BYTES = 8192
SECONDS_PER_INPUT = 10
MAX_MB = 1500


def main() -> None:
    with atheris.instrument_imports(include=["imageserver"]):
        from tests.fuzzing.parsers import PARSERS
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("parser", choices=PARSERS)
    arguments.add_argument("--seconds", type=int, default=60, help="how long (default: 60)")
    given = arguments.parse_args()
    parser = PARSERS[given.parser]
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(parser.seeds):
            (Path(folder) / str(number)).write_bytes(seed)
        words = Path(folder).with_suffix(".words")
        words.write_text("".join(f'"{word}"\n' for word in parser.words))
        options = [
            sys.argv[0], folder, f"-dict={words}", f"-max_total_time={given.seconds}", f"-max_len={MAX_BYTES}",
            f"-timeout={SECONDS_PER_INPUT}", f"-rss_limit_mb={MAX_MB}", f"-artifact_prefix={INPUTS / given.parser}-",
        ]  # fmt: skip
        atheris.Setup(options, parser.feed)
        atheris.Fuzz()


main()
