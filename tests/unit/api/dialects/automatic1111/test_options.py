"""The options that have an effect are a request's own or those that its credential has stored."""

import pytest

from imageserver.api.dialects.automatic1111.bodies import output_format_of
from imageserver.api.dialects.automatic1111.options import StoredOptions
from imageserver.errors import InvalidParameter
from tests.support.automatic1111_bodies import txt2img


@pytest.mark.parametrize("name", ["png", "jpg", "jpeg", "webp"])
def test_the_file_format_is_the_requests_own_or_the_stored_one(name):
    expected = {"jpg": "jpeg"}.get(name, name)
    assert output_format_of(txt2img(override_settings={"samples_format": name}), "png") == expected
    assert output_format_of(txt2img(), name) == expected


@pytest.mark.parametrize("name", ["avif", 5, ["png"]])
def test_another_file_format_is_refused(name):
    with pytest.raises(InvalidParameter, match="samples_format"):
        output_format_of(txt2img(override_settings={"samples_format": name}), "png")


def test_options_are_stored_per_credential_and_read_by_every_worker(tmp_path):
    here, there = StoredOptions(tmp_path), StoredOptions(tmp_path)
    assert here.samples_format("") == "png"
    here.set_samples_format("ann", "webp")
    here.set_samples_format("bob", "jpg")
    assert [there.samples_format(name) for name in ("ann", "bob", "")] == ["webp", "jpg", "png"]
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / "automatic1111_options.json").write_text("[")
    assert there.samples_format("ann") == "png"
