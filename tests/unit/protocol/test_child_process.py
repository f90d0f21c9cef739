"""Tests of the end of child processes."""

import asyncio
import os
import sys
import time
from collections.abc import Callable

import pytest

from imageserver.protocol import child_process


@pytest.mark.parametrize("end", [child_process.terminate, child_process.kill])
def test_the_status_of_a_child_that_had_just_ended_is_its_own(
    end: Callable[[asyncio.subprocess.Process], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = os.waitpid

    def wait_late(pid: int, options: int) -> tuple[int, int]:
        """Let the loop's thread notice the end of the child after it was told to end."""
        time.sleep(0.3)
        return wait(pid, options)

    async def status() -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-S", "-c", "raise SystemExit(7)", stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        await process.stdout.read()
        await asyncio.sleep(0.1)
        end(process)
        return await process.wait()

    monkeypatch.setattr("os.waitpid", wait_late)
    assert asyncio.run(status()) == 7


@pytest.mark.parametrize(("end", "status"), [(child_process.terminate, -15), (child_process.kill, -9)])
def test_a_child_that_runs_is_ended(end: Callable[[asyncio.subprocess.Process], None], status: int) -> None:
    async def ended() -> int:
        process = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "import time; time.sleep(60)")
        end(process)
        code = await process.wait()
        end(process)
        return code

    assert asyncio.run(ended()) == status
