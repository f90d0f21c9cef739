"""Tests that take so long that they run with QIS_FULL=1 only."""

import os

import pytest

needs_full_mode = pytest.mark.skipif("QIS_FULL" not in os.environ, reason="takes long; QIS_FULL=1 runs it")
