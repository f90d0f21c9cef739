"""Memory that large requests needed comes back, though small objects were made between them."""

import platform
import subprocess
import sys

import pytest

# The first block teaches glibc to keep such blocks; a small one that stays lies above each of the others.
FILL_AND_FREE = """
import sys
import psutil
from imageserver.api.wsgi import large_blocks

if sys.argv[1] == "return":
    large_blocks.return_when_free()
bytes(20 * 2**20)
memory = psutil.Process().memory_info
before, blocks = memory().rss, []
for _ in range(20):
    blocks.append((bytearray(b"x" * 3 * 2**20), bytearray(100_000)))
kept = [small for _, small in blocks]
del blocks
print(memory().rss - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep no large blocks")
def test_large_blocks_between_small_ones_come_back():
    kept, returned = (
        int(subprocess.run([sys.executable, "-c", FILL_AND_FREE, how], capture_output=True, check=True).stdout)
        for how in ("keep", "return")
    )
    assert returned < 10 * 2**20 < kept
