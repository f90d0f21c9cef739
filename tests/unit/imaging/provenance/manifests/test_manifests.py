"""A signed file says what made it, holds for every reader, and keeps its seal."""

import io
import json
import socket
import threading
from datetime import timedelta

import numpy as np
import pytest

from imageserver import __version__
from imageserver.generation import ModelInfo, Outcome, Source
from imageserver.imaging.finishing import finish
from imageserver.imaging.metadata import read_metadata
from imageserver.imaging.provenance.manifests.claims import Ingredient, ManifestClaim
from imageserver.imaging.provenance.manifests.embedding import media_type_of, without_manifest
from imageserver.imaging.provenance.sealing import Sealer
from imageserver.imaging.provenance.verification import verify
from tests.support.factories import generation
from tests.support.images import file_of, noise, one_colour, pixels

c2pa = pytest.importorskip("c2pa", reason="the extra c2pa is not installed")

from cryptography.x509.oid import ExtendedKeyUsageOID  # noqa: E402

from imageserver.api.credentials.signing_certificate import open_reader, open_signer  # noqa: E402
from imageserver.imaging.provenance.manifests.context import new_context  # noqa: E402
from imageserver.imaging.provenance.manifests.ingredients import read_ingredients  # noqa: E402
from imageserver.imaging.provenance.manifests.reading import ManifestReader  # noqa: E402
from tests.support.signing import SIGNER, Authority  # noqa: E402

FORMATS = pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
SEALER = Sealer(b"s" * 32)
INFO = ModelInfo(name="demo")
OUTCOME = Outcome(width=64, height=64, seeds=(7,), inference_time=1.0, queue_time=0.0, batch_size=1)
EDIT = generation(source=Source(strength=0.5, digest="d"))


@pytest.fixture(scope="module")
def authority():
    return Authority()


@pytest.fixture(scope="module")
def signer(authority, tmp_path_factory):
    return open_signer(authority.issue(tmp_path_factory.mktemp("signer")).settings)


def finished(signer, output_format="png", wanted=None, **options):
    return finish(
        np.asarray(noise()).tobytes(), OUTCOME, wanted or generation("a wolf"), INFO, output_format=output_format,
        compression=None, aspect_ratio_name=None, font_path=None, sealer=SEALER, signer=signer, **options,
    )  # fmt: skip


def made(signer, output_format="png", wanted=None, **options):
    [data] = finished(signer, output_format, wanted, **options).files
    return data


def read(data):
    """Return the active manifest of a file as another program reads it; its signature must be right."""
    with c2pa.Reader(media_type_of(data), io.BytesIO(data), context=new_context()) as reader:
        assert reader.get_validation_state() == "Valid"
        return reader.get_active_manifest()


def proved(data, signer, original=None):
    """Return whether a file, with the settings of its original, was made here and is unchanged, and its manifest."""
    settings = read_metadata(original or data).get("generation")
    verification = verify(data, settings, SEALER, signer and open_reader(signer))
    return verification.check.made_here, verification.check.unchanged, verification.manifest


def actions(manifest):
    [assertion] = [entry for entry in manifest["assertions"] if entry["label"].startswith("c2pa.actions")]
    return assertion["data"]["actions"]


@FORMATS
def test_a_file_says_who_signed_it_and_what_generated_it(signer, output_format):
    manifest = read(made(signer, output_format))
    [created] = actions(manifest)
    assert (created["action"], created["softwareAgent"]["name"]) == ("c2pa.created", "demo")
    assert created["digitalSourceType"].endswith("/digitalsourcetype/trainedAlgorithmicMedia")
    [generator] = manifest["claim_generator_info"]
    assert (generator["name"], generator["version"]) == ("qwen-image-server", __version__)
    assert manifest["signature_info"]["common_name"] == SIGNER
    assert "wolf" not in json.dumps(manifest)


@FORMATS
def test_the_seal_and_the_manifest_hold_for_the_same_file(signer, output_format):
    made_here, unchanged, manifest = proved(made(signer, output_format), signer)
    assert (made_here, unchanged) == (True, True)
    assert (manifest.valid, manifest.changed, manifest.trusted, manifest.signer) == (True, False, True, SIGNER)
    assert manifest.generator == f"qwen-image-server {__version__}"


@FORMATS
def test_pixels_and_settings_are_those_of_a_file_without_a_manifest(signer, output_format):
    signed, plain = (made(one, output_format) for one in (signer, None))
    assert (pixels(signed) == pixels(plain)).all()
    assert read_metadata(signed) == read_metadata(plain)


@FORMATS
def test_a_changed_file_fails_both(signer, output_format):
    data = made(signer, output_format)
    middle = len(data) - 1500 if output_format != "webp" else data.index(b"VP8 ") + 1500
    changed = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    made_here, unchanged, manifest = proved(changed, signer, data)
    assert (made_here, unchanged) == (None, False)
    assert (manifest.valid, manifest.changed) == (False, True)


@FORMATS
def test_a_manifest_that_was_removed_or_replaced_is_missed(signer, authority, tmp_path, output_format):
    data = made(signer, output_format)
    bare = without_manifest(data)
    assert proved(bare, signer) == (True, False, None)
    # By somebody with a certificate of the same issuer.
    other = open_signer(authority.issue(tmp_path).settings)
    replaced = sign_again(bare, other, output_format)
    assert read(replaced)
    assert proved(replaced, signer)[:2] == (True, False)


def test_a_certificate_of_the_same_number_from_another_issuer_proves_nothing(signer, tmp_path):
    serial = int(signer.certificate.serial)
    other = open_signer(Authority().issue(tmp_path, serial=serial).settings)
    replaced = sign_again(without_manifest(made(signer)), other, "png")
    made_here, unchanged, manifest = proved(replaced, signer)
    assert (made_here, unchanged, manifest.valid, manifest.trusted) == (True, None, True, False)


def sign_again(data, signer, output_format):
    return signer.signed(data, output_format, ManifestClaim(model="demo", source_type="trainedAlgorithmicMedia"))


@FORMATS
def test_a_manifest_that_somebody_adds_to_a_sealed_file_is_a_change(signer, output_format):
    signed = sign_again(made(None, output_format), signer, output_format)
    assert proved(signed, signer)[:2] == (None, False)


@pytest.mark.parametrize(
    ("options", "told"),
    # One expired while its request waited; for the other c2pa refuses to sign.
    [({"lasts": timedelta(hours=-1)}, False), ({"usage": ExtendedKeyUsageOID.SERVER_AUTH}, True)],
)
def test_an_image_that_cannot_be_signed_is_finished_without_a_manifest(authority, tmp_path, caplog, options, told):
    useless = open_signer(authority.issue(tmp_path, **options).settings)
    data = made(useless)
    assert proved(data, useless) == (True, True, None)
    assert data == made(None)
    assert ("could not be signed" in caplog.text) is told
    # Then it is not what the next request, whose image can be signed, gets from the cache.
    assert (finished(useless).lacks_manifest, finished(None).lacks_manifest) == (told, False)


def test_without_the_extra_only_the_manifest_is_in_doubt(signer):
    assert proved(made(signer), None) == (True, None, None)
    assert proved(made(None), None) == (True, True, None)


def test_an_edit_names_the_image_that_it_changed_with_the_manifest_of_that(signer):
    source = made(signer, "jpeg")
    manifest = read(made(signer, wanted=EDIT, ingredients=read_ingredients([source, one_colour()], [])))
    opened, edited = actions(manifest)
    assert (opened["action"], edited["action"]) == ("c2pa.opened", "c2pa.edited")
    parents, beside = ingredients(manifest, "parentOf"), ingredients(manifest, "inputTo")
    assert [entry["active_manifest"] for entry in parents] == [read(source)["label"]]
    assert [entry.get("active_manifest") for entry in beside] == [None]
    assert len(opened["parameters"]["ingredients"]) == len(edited["parameters"]["ingredients"]) == 1


def ingredients(manifest, relationship):
    return [entry for entry in manifest["ingredients"] if entry["relationship"] == relationship]


def test_an_edit_names_images_without_a_manifest_and_those_that_are_not_at_hand(signer):
    for known in (read_ingredients([one_colour()], []), ()):
        manifest = read(made(signer, wanted=EDIT, ingredients=known))
        [entry] = manifest["ingredients"]
        assert entry["relationship"] == "parentOf"
        assert "active_manifest" not in entry
        assert [action["action"] for action in actions(manifest)] == ["c2pa.opened", "c2pa.edited"]


def test_a_manifest_that_cannot_be_taken_over_keeps_no_image_from_being_signed(signer):
    made_up = Ingredient(label="image", relationship="parentOf", archive=b"made up", digest="d")
    [entry] = read(made(signer, wanted=EDIT, ingredients=(made_up,)))["ingredients"]
    assert (entry["relationship"], "active_manifest" in entry) == ("parentOf", False)


def test_what_a_mask_kept_makes_it_a_composite(signer):
    masked = generation(source=Source(strength=1.0, digest="d", masked=True))
    assert actions(read(made(signer, wanted=masked)))[-1]["digitalSourceType"].endswith(
        "/compositeWithTrainedAlgorithmicMedia"
    )


def test_a_source_whose_manifest_is_broken_or_elsewhere_is_an_ingredient_without_one(signer):
    broken = made(signer, "png").replace(b"c2pa.claim", b"c2pa.clown")
    for data in (broken, elsewhere(signer, "http://127.0.0.1:9/manifest")):
        [ingredient] = read_ingredients([data + b"jumb"], [])
        manifest = read(made(signer, wanted=EDIT, ingredients=(ingredient,)))
        assert len(ingredients(manifest, "parentOf")) == 1


def test_a_manifest_that_is_too_large_to_be_kept_is_left_out(signer, monkeypatch):
    from imageserver.imaging.provenance.manifests import ingredients

    source = made(signer)
    [kept] = read_ingredients([source], [])
    monkeypatch.setattr(ingredients, "MAX_ARCHIVE_BYTES", 1000)
    [left_out] = read_ingredients([source], [])
    assert (kept.archive != b"", left_out.archive, left_out.digest) == (True, b"", "")


def elsewhere(signer, address):
    """Return an image whose manifest is at an address."""
    claim, signed = ManifestClaim(model="demo", source_type="trainedAlgorithmicMedia"), io.BytesIO()
    builder = c2pa.Builder(claim.definition(), context=signer._context)
    builder.set_no_embed()
    builder.set_remote_url(address)
    builder.sign("image/png", io.BytesIO(one_colour()), signed)
    return signed.getvalue()


def test_no_address_that_an_image_names_is_asked_for_its_manifest(signer):
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            while True:
                connection, _ = listener.accept()
                with connection:
                    asked.append(connection.recv(1000))
                if asked[-1] == b"the end":
                    return

        answering = threading.Thread(target=answer, daemon=True)
        answering.start()
        data = elsewhere(signer, f"http://127.0.0.1:{listener.getsockname()[1]}/manifest")
        assert b"http://127.0.0.1" in data
        assert ManifestReader().read(data) is None
        read_ingredients([data + b"jumb"], [])
        with socket.create_connection(listener.getsockname()) as connection:
            connection.sendall(b"the end")
        answering.join(10)
    assert asked == [b"the end"]


@FORMATS
def test_any_bytes_are_read_without_an_error(signer, output_format):
    data, reader = made(signer, output_format), ManifestReader()
    for end in (*range(60), *range(60, len(data), 997)):
        assert len(without_manifest(data[:end])) <= len(data[:end])
        reader.read(data[:end])
    assert reader.read(file_of(noise(), "GIF")) is None
    assert without_manifest(data) == without_manifest(without_manifest(data)) != data
