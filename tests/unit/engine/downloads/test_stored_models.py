"""The folder for downloads: what is there of each model, and that removing one leaves all others."""

import pytest

from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.downloads.stored_models import remove, stored_models
from imageserver.settings import Settings

NAMES = '["small"]\nsource = "ann/small"\nlicence = "MIT"\ndownload_gb = 0.5\n["mine"]\nsource = "FOLDER"\n'


@pytest.fixture
def settings(tmp_path):
    mine, models = tmp_path / "mine", tmp_path / "models"
    # Beside the layouts of now, those of earlier libraries.
    old = (models / "models" / "eve" / "old", models / "hub" / "models" / "eve" / "older")
    for folder in (mine, models / "models--ann--small" / "blobs", models / "models" / "bob--other.1", *old):
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(bytes(1000))
    (models / "listings").mkdir()
    (models / "listings" / "huggingface--ann--small--newest.json").write_text("{}")
    names = tmp_path / "models.toml"
    names.write_text(NAMES.replace("FOLDER", str(mine)))
    return Settings(_env_file=None, models_dir=models, models_file=names)


def stored(settings):
    return {model.name: model.stored_bytes for model in stored_models(settings)}


def test_named_models_come_first_and_downloaded_ones_after_them(settings):
    assert stored(settings) == {"small": 1000, "mine": 0, "bob/other.1": 1000}
    small = stored_models(settings)[0]
    assert (small.source, small.licence, small.download_gb) == ("ann/small", "MIT", 0.5)


@pytest.mark.parametrize("name", ["small", "ann/small"])
def test_a_model_is_removed_with_its_listing_and_the_others_stay(settings, name):
    assert remove(name, settings) == 1000
    assert stored(settings) == {"small": 0, "mine": 0, "bob/other.1": 1000}
    assert not list(settings.models_dir.glob("listings/*"))


@pytest.mark.parametrize(
    "name",
    [
        "mine", "demo", "ann/unknown", "../models", "/tmp/x", "models/..", "..", "", "eve/", "/eve", "models/", "/",
        "models/bob--other.1", "models--ann--small/blobs", "hub/models", "eve/.",
    ],
)  # fmt: skip
def test_what_was_not_downloaded_is_never_removed(settings, name):
    before = sorted(settings.models_dir.parent.rglob("*"))
    with pytest.raises(ModelUnavailable, match="Nothing of"):
        remove(name, settings)
    assert sorted(settings.models_dir.parent.rglob("*")) == before
