"""What the two sides agree on."""

import os
import sys

# Where the process listens that forks engines; the engines of a server find it by this variable.
VARIABLE = "PRELOADED_ENGINES"
IS_SUPPORTED = sys.platform == "linux" and hasattr(os, "pidfd_open")
MAX_REQUEST_BYTES = 1 << 20
# A rank's standard streams, its connection and the group's store.
MAX_DESCRIPTORS = 8
