"""Dispatchers of one test meet nobody else's."""

import tempfile

import pytest


@pytest.fixture(autouse=True)
def private_folder(monkeypatch):
    """Meet in a folder of this test, short enough for a Unix socket's path."""
    with tempfile.TemporaryDirectory(prefix="meet") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield
