"""The trace that a client names, without OpenTelemetry."""

import pytest

from imageserver.telemetry.tracing.trace_header import trace_id_in

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "header", [f"00-{TRACE}-{PARENT}-01", f" 00-{TRACE}-{PARENT}-00 ", f"01-{TRACE}-{PARENT}-01-x"]
)
def test_a_valid_header_names_a_trace(header):
    assert trace_id_in(header) == TRACE


@pytest.mark.parametrize(
    "header",
    [
        "", TRACE, f"ff-{TRACE}-{PARENT}-01", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01-x", f"00-{TRACE}-{PARENT}-01\nforged",
    ],
)  # fmt: skip
def test_any_other_header_names_none(header):
    assert trace_id_in(header) == ""
