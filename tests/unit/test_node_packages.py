"""Tests that need a package of Node say why they do not run."""

import pytest

from tests.support import node_packages
from tests.support.node_packages import node_package


@pytest.fixture
def npm(monkeypatch):
    """Say whether the machine has npm: `npm(True)`."""
    return lambda is_there: monkeypatch.setattr(
        node_packages.shutil, "which", lambda name: "/usr/bin/npm" if is_there else None
    )


def test_a_missing_package_fails_the_test_with_the_line_that_installs_it(npm, tmp_path):
    npm(True)
    with pytest.raises(
        pytest.fail.Exception, match=f"axe-core is not installed: run `npm install --prefix {tmp_path}`"
    ):
        node_package(tmp_path, "axe-core")


def test_without_npm_the_test_is_skipped_with_a_reason(npm, tmp_path):
    npm(False)
    with pytest.raises(pytest.skip.Exception, match="axe-core is not installed, and neither is npm"):
        node_package(tmp_path, "axe-core")


def test_an_installed_package_is_found(npm, tmp_path):
    npm(True)
    package = tmp_path / "node_modules" / "axe-core"
    package.mkdir(parents=True)
    assert node_package(tmp_path, "axe-core") == package
