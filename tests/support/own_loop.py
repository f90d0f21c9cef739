"""A loop of asyncio for one piece of work, in a thread of its own."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


def run_in_own_loop(work: Coroutine[Any, Any, Result]) -> Result:
    """Return what `work` returns; in the main thread Playwright's loop is running once a browser test has been."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
