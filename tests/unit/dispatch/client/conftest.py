"""Dispatchers of one test meet nobody else's."""

import tempfile

import pytest


@pytest.fixture(autouse=True)
def private_folder(monkeypatch, tmp_path_factory):
    """Meet in a folder of this test, short enough for a Unix socket's path."""
    # Made now, or pytest would make the folder of all tests inside this one.
    tmp_path_factory.getbasetemp()
    with tempfile.TemporaryDirectory(prefix="meet") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr("tempfile.tempdir", folder)
        yield
