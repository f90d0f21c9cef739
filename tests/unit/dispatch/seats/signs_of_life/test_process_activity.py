"""What a process and its children compute and read is counted; a process that waits consumes nothing."""

import subprocess
import sys
import time

from imageserver.dispatch.seats.signs_of_life.load_watchdog import IDLE_BYTES, IDLE_CPU_SHARE
from imageserver.dispatch.seats.signs_of_life.process_activity import ProcessActivity, activity_of

CHILD = """
import pathlib, sys, time
pathlib.Path(sys.argv[1]).read_bytes()
while time.process_time() < 0.2: pass
print("done", flush=True)
sys.stdin.read()
"""
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
MAPPING = """
import mmap, sys
file = open(sys.argv[1], "rb")
print("ready", flush=True)
sys.stdin.readline()
weights = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
weights[::mmap.PAGESIZE]
print("done", flush=True)
sys.stdin.read()
"""
PAUSE_SECONDS = 0.3


def test_what_a_child_computes_and_reads_counts_until_it_waits(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(bytes(10 * IDLE_BYTES))
    command = [sys.executable, "-c", PARENT, CHILD, file]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"done\n"
        done = activity_of(process.pid)
        assert done.cpu_seconds >= 0.2
        assert done.transferred_bytes >= 10 * IDLE_BYTES
        time.sleep(PAUSE_SECONDS)
        later = activity_of(process.pid)
        assert later.cpu_seconds - done.cpu_seconds <= IDLE_CPU_SHARE * PAUSE_SECONDS
        assert later.transferred_bytes - done.transferred_bytes <= IDLE_BYTES
    finally:
        process.kill()
        process.communicate()
    assert activity_of(process.pid) == ProcessActivity()


def test_the_pages_of_a_mapped_file_count_that_nobody_has_read_from_a_disk(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(bytes(100 * IDLE_BYTES))
    command = [sys.executable, "-c", MAPPING, file]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"ready\n"
        before = activity_of(process.pid)
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"done\n"
        assert activity_of(process.pid).resident_bytes - before.resident_bytes > 50 * IDLE_BYTES
    finally:
        process.kill()
        process.communicate()
