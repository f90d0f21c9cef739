"""The log file has whole lines of all processes, and a limited size whatever is logged."""

import logging
import stat
import subprocess
import sys

from imageserver.telemetry.log_file import LogFile
from tests.support.paths import ROOT

LIMIT = 20_000


def record(text):
    return logging.LogRecord("imageserver", logging.ERROR, __file__, 1, text, None, None)


def test_a_storm_of_errors_fills_two_files_and_no_disk(tmp_path):
    file = LogFile(tmp_path / "logs" / "server.log", LIMIT)
    for number in range(5000):
        file.emit(record(f"error {number} {'x' * 40}"))
    file.emit(record("y" * 10 * LIMIT))
    file.emit(record("the last one"))
    file.close()
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "logs").iterdir()}
    assert sizes.keys() - {"server.log.lock"} == {"server.log", "server.log.1"}
    assert sum(sizes.values()) <= 2 * LIMIT
    assert (tmp_path / "logs" / "server.log").read_text() == "the last one\n"


def test_prompts_in_the_log_are_for_the_server_s_user_alone(tmp_path):
    file = LogFile(tmp_path / "logs" / "server.log", LIMIT)
    for _ in range(3):
        file.emit(record("x" * LIMIT))
    file.close()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "logs").iterdir()}
    assert modes == {"server.log": 0o600, "server.log.1": 0o600, "server.log.lock": 0o600}
    assert stat.S_IMODE((tmp_path / "logs").stat().st_mode) == 0o700


def test_a_file_that_the_owner_made_keeps_its_mode(tmp_path):
    path = tmp_path / "server.log"
    path.touch(mode=0o640)
    LogFile(path, LIMIT).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_file_that_logrotate_moved_is_begun_again(tmp_path):
    path = tmp_path / "server.log"
    file = LogFile(path, LIMIT)
    file.emit(record("before"))
    path.rename(tmp_path / "moved")
    file.emit(record("after"))
    file.close()
    assert ((tmp_path / "moved").read_text(), path.read_text()) == ("before\n", "after\n")


def test_lines_of_several_processes_are_whole_and_none_is_lost(tmp_path):
    path = tmp_path / "server.log"
    program = (
        "import logging, sys, pathlib\nfrom imageserver.telemetry.log_file import LogFile\n"
        f"file = LogFile(pathlib.Path({str(path)!r}), 6000)\n"
        "for number in range(200):\n"
        "    text = f'{sys.argv[1]} {number:04} end'\n"
        "    file.emit(logging.LogRecord('x', 40, '', 1, text, None, None))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, name], cwd=ROOT) for name in ("ann", "bob", "eve")]
    assert [writer.wait(30) for writer in writers] == [0, 0, 0]
    lines = [line for file in (path.with_name("server.log.1"), path) for line in file.read_text().splitlines()]
    assert sorted(lines) == sorted(f"{name} {number:04} end" for name in ("ann", "bob", "eve") for number in range(200))


def test_a_file_that_cannot_be_opened_for_a_while_is_written_again_and_no_other_file_is_closed(tmp_path):
    folder = tmp_path / "logs"
    file = LogFile(folder / "server.log", LIMIT)
    folder.rename(tmp_path / "away")
    file.emit(record("lost"))
    with (tmp_path / "another").open("w") as another:
        (tmp_path / "away").rename(folder)
        (folder / "server.log").rename(folder / "moved")
        file.emit(record("after"))
        another.write("still open")
    file.close()
    assert (folder / "server.log").read_text() == "after\n"
    assert (tmp_path / "another").read_text() == "still open"


def test_a_line_that_cannot_be_formatted_ends_nothing(tmp_path, capsys):
    file = LogFile(tmp_path / "server.log", LIMIT)
    file.emit(logging.LogRecord("imageserver", logging.ERROR, __file__, 1, "%d images", ("no",), None))
    file.emit(record("after"))
    file.close()
    assert "Logging error" in capsys.readouterr().err
    assert (tmp_path / "server.log").read_text() == "after\n"


def test_a_file_that_cannot_be_opened_leaves_no_traceback_at_the_end_of_the_process(tmp_path):
    (tmp_path / "file").write_text("where a folder was")
    code = (
        "import sys; from imageserver.settings import Settings; from imageserver.telemetry.logs import *\n"
        "configure_logging(Settings(_env_file=None, log_file=sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "file" / "server.log")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "LOG_FILE cannot be written" in ended.stderr
    assert "Traceback" not in ended.stderr
