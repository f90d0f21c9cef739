"""Manifests that would take much memory are refused before c2pa reads them, and no answer takes them over."""

import io
from unittest.mock import Mock

import numpy as np
import pytest

from imageserver.imaging.encoding import encode
from imageserver.imaging.provenance.manifests import store
from imageserver.imaging.provenance.manifests.claims import ManifestClaim
from imageserver.imaging.provenance.manifests.embedding import PNG_HEADER_END, media_type_of, without_manifest
from tests.support.images import file_of, noise, one_colour

c2pa = pytest.importorskip("c2pa", reason="the extra c2pa is not installed")

from imageserver.api.credentials.signing_certificate import open_signer  # noqa: E402
from imageserver.imaging.provenance.manifests import ingredients, reading  # noqa: E402
from imageserver.imaging.provenance.manifests.context import SETTINGS  # noqa: E402
from imageserver.imaging.provenance.manifests.ingredients import read_ingredients  # noqa: E402
from imageserver.imaging.provenance.manifests.reading import ManifestReader  # noqa: E402
from tests.support.signing import Authority  # noqa: E402

FORMATS = pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
CLAIM = ManifestClaim(model="demo", source_type="trainedAlgorithmicMedia")


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return open_signer(Authority().issue(tmp_path_factory.mktemp("signer")).settings)


@pytest.fixture
def without_c2pa(monkeypatch):
    """Let every use of c2pa fail."""
    for module in (reading, ingredients):
        monkeypatch.setattr(module, "c2pa", Mock(Reader=None, Builder=None, C2paError=c2pa.C2paError))


def signed(signer, output_format="png"):
    return signer.signed(encode(np.asarray(noise()), output_format=output_format), output_format, CLAIM)


def compressed(signer, output_format):
    """Return a small file whose manifest is 0.3 MB when it is unpacked."""
    certificate = signer.certificate
    info = c2pa.C2paSignerInfo(certificate.algorithm, certificate.chain.encode(), certificate.key.encode(), None)
    settings = c2pa.Settings.from_dict(SETTINGS | {"core": {"prefer_compress_manifests": True}})
    definition = CLAIM.definition()
    definition["assertions"].append({"label": "org.example", "data": {"x": [0] * 300_000}})
    builder = c2pa.Builder(definition, context=c2pa.Context(settings=settings, signer=c2pa.Signer.from_info(info)))
    bare, data = encode(np.zeros((8, 8, 3), np.uint8), output_format=output_format), io.BytesIO()
    builder.sign(media_type_of(bare), io.BytesIO(bare), data)
    return data.getvalue()


def refused(data):
    """Return the problem of a file whose manifest is reported and kept by nobody."""
    manifest = ManifestReader.read(Mock(), data)
    [ingredient] = read_ingredients([data], [])
    assert (manifest.valid, ingredient.archive, ingredient.digest) == (False, b"", "")
    assert store.memory_needed([data]) == 0
    return manifest.changed, manifest.problems


# c2pa compresses none in a WebP file.
@pytest.mark.parametrize("output_format", ["png", "jpeg"])
def test_a_compressed_manifest_is_not_unpacked(signer, without_c2pa, output_format):
    data = compressed(signer, output_format)
    assert len(data) < 4000
    assert refused(data) == (False, ("compressed",))


@FORMATS
def test_a_large_manifest_is_not_read(signer, without_c2pa, monkeypatch, output_format):
    data = signed(signer, output_format)
    monkeypatch.setattr(store, "MAX_STORE_BYTES", 1000)
    assert refused(data) == (False, ("too_large",))


def test_a_manifest_is_not_read_where_only_c2pa_would_look_for_it(signer, without_c2pa):
    png, jpeg = signed(signer), signed(signer, "jpeg")
    chunk = png[PNG_HEADER_END : PNG_HEADER_END + len(png) - len(without_manifest(png))]
    twice = png[:PNG_HEADER_END] + chunk + png[PNG_HEADER_END:]
    behind_many = png[:PNG_HEADER_END] + (bytes(4) + b"note" + bytes(4)) * store.MAX_BLOCKS + png[PNG_HEADER_END:]
    start = jpeg.index(b"\xff\xeb")
    behind_filling = jpeg[:start] + b"\xff" + jpeg[start:]
    for data in (twice, behind_many, behind_filling):
        assert refused(data) == (True, ("unreadable",))


def test_what_a_phone_appends_to_a_jpeg_is_not_taken_for_a_manifest(signer):
    appended = b"\xff\xeb" * 10 + signed(signer, "jpeg")
    assert ManifestReader().read(file_of(noise(), "JPEG") + appended) is None
    assert ManifestReader(signer.certificate.issuers).read(signed(signer, "jpeg") + appended).problems == (
        "assertion.dataHash.mismatch",
    )


def test_a_manifest_of_many_segments_is_read_as_a_whole(signer):
    definition = CLAIM.definition()
    definition["assertions"].append({"label": "org.example", "data": {"x": [0] * 200_000}})
    data, bare = io.BytesIO(), encode(np.asarray(noise()), output_format="jpeg")
    c2pa.Builder(definition, context=signer._context).sign("image/jpeg", io.BytesIO(bare), data)
    assert data.getvalue().count(b"\xff\xeb") >= 4
    assert ManifestReader(signer.certificate.issuers).read(data.getvalue()).trusted


def test_a_report_that_is_too_long_is_not_parsed(signer, monkeypatch):
    data = signed(signer)
    assert ManifestReader().read(data).valid
    monkeypatch.setattr(reading, "MAX_REPORT_CHARACTERS", 100)
    manifest = ManifestReader().read(data)
    assert (manifest.valid, manifest.problems) == (False, ("too_large",))


def test_the_images_of_a_request_share_the_room_for_their_manifests(signer, monkeypatch):
    data = signed(signer)
    [alone] = read_ingredients([data], [])
    monkeypatch.setattr(ingredients, "MAX_ARCHIVE_BYTES", 2 * len(alone.archive) + 100)
    kept = [len(ingredient.archive) > 0 for ingredient in read_ingredients([data, one_colour()], [data, data])]
    assert kept == [True, False, True, False]


def test_memory_is_needed_for_the_largest_of_the_manifests(signer):
    small = store.memory_needed([one_colour(), signed(signer)])
    assert small == store.memory_needed([signed(signer)] * 3) > store.MEMORY_PER_BYTE * 1000
    assert store.memory_needed([]) == store.memory_needed([one_colour(), b"text"]) == 0
