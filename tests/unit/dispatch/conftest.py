"""Runs every `async def test_…` in a loop of virtual time."""

import asyncio
import inspect
from collections.abc import Iterator

import pytest

from tests.support.dispatch_harness import Harness, VirtualTimeLoop


@pytest.fixture(autouse=True)
def virtual_time() -> Iterator[asyncio.Runner]:
    """The loop of a test and of its fixtures."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        yield runner


@pytest.fixture
def harness(virtual_time: asyncio.Runner) -> Harness:
    """A dispatcher whose engine runs one job at a time and has its model."""

    async def create() -> Harness:
        return Harness()

    return virtual_time.run(create())


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine function to its end; return None for any other test, which pytest runs itself."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    pyfuncitem.funcargs["virtual_time"].run(pyfuncitem.obj(**arguments))
    return True
