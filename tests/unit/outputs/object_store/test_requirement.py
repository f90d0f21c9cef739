"""A start with an OUTPUT_URL that cannot be used ends with one sentence."""

import pytest

from imageserver.outputs.object_store import requirement
from imageserver.outputs.object_store.requirement import require_filesystem
from imageserver.settings import Settings


def settings(url):
    return Settings(_env_file=None, output_url=url)


@pytest.mark.parametrize("url", ["", "file:///srv/images", "memory://images", "local:///srv/images"])
def test_what_is_there_is_accepted(url):
    require_filesystem(settings(url))


@pytest.mark.parametrize(
    ("url", "missing", "sentence"),
    [
        ("nothing://bucket", None, "fsspec knows no filesystem nothing"),
        ("s3://bucket", "s3fs", "needs s3fs, which is not installed: .* installs it"),
        ("gcs://bucket", "gcsfs", "needs gcsfs, which is not installed: pip install gcsfs installs it"),
        ("s3://bucket", "fsspec", "needs fsspec"),
    ],
)
def test_what_is_missing_is_named(monkeypatch, url, missing, sentence):
    find = requirement.importlib.util.find_spec
    monkeypatch.setattr(requirement.importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(SystemExit, match=sentence):
        require_filesystem(settings(url))


@pytest.mark.parametrize("url", ["bucket/folder", "s3:bucket", "s3://a b", "sftp://ann:secret@host/images"])
def test_what_is_no_address_of_a_folder_is_refused_without_showing_it(url):
    with pytest.raises(ValueError, match="output_url") as caught:
        settings(url)
    assert "it is not the URL" in str(caught.value) or "passwords belong" in str(caught.value)
