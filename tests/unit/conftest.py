"""No test works for the request of another one."""

from collections.abc import Iterator

import pytest

from imageserver.telemetry.logs import current_credential, current_request, current_trace


@pytest.fixture(autouse=True)
def _no_request_of_another_test() -> Iterator[None]:
    """Forget the request that a test has taken up: what it set would be inherited by each later greenlet."""
    before = current_request.get(), current_credential.get(), current_trace.get()
    yield
    current_request.set(before[0])
    current_credential.set(before[1])
    current_trace.set(before[2])
