"""The header with which a client names its trace, read without OpenTelemetry.

Source: W3C Trace Context, 3.2 (https://www.w3.org/TR/trace-context/#traceparent-header).
"""

import re

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


def trace_id_in(traceparent: str) -> str:
    """Return the trace that a header names; empty for a header that is not valid."""
    found = TRACEPARENT.fullmatch(traceparent.strip())
    # The first version ends with its flags.
    return "" if found is None or (found[2] and traceparent.startswith("00")) else found[1]
