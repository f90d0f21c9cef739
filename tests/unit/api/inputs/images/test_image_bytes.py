"""The sources of a client's image, and those that are refused."""

import base64
import io
import subprocess
import sys
import tracemalloc
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import FileStorage, MultiDict

from imageserver.api.inputs.images import image_bytes, remote_image
from imageserver.api.inputs.images.image_bytes import (
    MAX_ESCAPES,
    checked,
    decode,
    fetch,
    fetch_all,
    read_upload,
    read_uploads,
)
from imageserver.api.outbound import safe_http
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.errors import InvalidParameter
from imageserver.settings import WORKING_DIR, Settings

DATA = bytes(range(256))
TEXT = base64.b64encode(DATA).decode()
DEFAULTS = Settings(_env_file=None)
SMALL = Settings(_env_file=None, max_image_mb=0.001)
MAX_BYTES = int(0.001 * 2**20)


def service(**changes):
    return SimpleNamespace(settings=Settings(_env_file=None, **changes), thread_pool=ThreadPool(1))


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(DATA).decode(),
        base64.b64encode(DATA).decode().rstrip("="),
        base64.b64encode(DATA).decode() + "=",
        base64.urlsafe_b64encode(DATA).decode(),
        base64.encodebytes(DATA).decode(),
        "data:image/png;base64," + base64.b64encode(DATA).decode(),
        "DATA:image/svg+xml;charset=utf-8;base64," + base64.b64encode(DATA).decode(),
        "data:;base64," + base64.b64encode(DATA).decode(),
        "data:application/octet-stream;base64," + base64.b64encode(DATA).decode(),
        "data:image/png;base64," + base64.b64encode(DATA).decode().replace("+", "%2B").replace("=", "%3D"),
        "data:image/png;base64," + quote(base64.encodebytes(DATA).decode(), safe=""),
        "data:image/png;base64," + TEXT.replace("+", "%2b").replace("/", "%2f").replace("=", "%3d"),
    ],
)
def test_every_spelling_of_base64_is_read(text):
    assert decode(text, DEFAULTS, name="image") == DATA


@pytest.mark.parametrize(
    "data", [DATA, b"\0\0\0\xfb", b"a" + b"\xfb" * 99, bytes(150) + b"\xfb\xef\xbe" * 50 + b"\xff" * 9]
)
def test_a_plus_that_a_form_turned_into_a_blank_is_read_as_a_plus(data):
    text = base64.b64encode(data).decode()
    assert "+" in text
    for sent in (text.replace("+", " "), "data:image/png;base64," + text.replace("+", " ")):
        assert decode(sent, DEFAULTS, name="image") == data


@pytest.mark.parametrize("length", [64, 76])
@pytest.mark.parametrize("data", [bytes(range(200)) * 3, bytes(60_000)])
def test_lines_that_a_blank_joins_are_read_as_lines(data, length):
    text = base64.b64encode(data).decode().replace("+", "-")
    lines = [text[start : start + length] for start in range(0, len(text), length)]
    assert decode(" ".join(lines), DEFAULTS, name="image") == data
    assert decode("data:image/png;base64, " + " \n ".join(lines), DEFAULTS, name="image") == data


@pytest.mark.parametrize(
    "text",
    [
        "",
        "    ",
        "data:image/png;base64,",
        "not base64!",
        "data:image/png,raw",
        "ä",
        "a",
        "YQ=a",
        "data:text/html;base64,YQ==",
        "data:image/png;base64,\ud800",
        "file:///etc/passwd",
        "../a.png",
        "ftp://a/b.png",
        "data:image/png" + ";a=b" * 100 + ";base64,YQ==",
        "data:image/png;base64," + "%41" * (MAX_ESCAPES + 1),
    ],
)
def test_anything_else_is_refused_by_name(text):
    with pytest.raises(InvalidParameter) as caught:
        decode(text, DEFAULTS, name="image")
    assert caught.value.param == "image"


@pytest.mark.parametrize(
    "text", ["data:" + ";a" * 500_000, "data:image/png;base64," + "%41" * 300_000], ids=["parameters", "percent signs"]
)
def test_a_hostile_data_url_takes_no_more_memory_than_a_few_copies_of_it(text):
    tracemalloc.start()
    with pytest.raises(InvalidParameter):
        decode(text, DEFAULTS, name="image")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5 * len(text)


def test_the_limit_is_named_and_counts_bytes_not_letters():
    assert len(decode(base64.b64encode(bytes(MAX_BYTES)).decode(), SMALL, name="image")) == MAX_BYTES
    with pytest.raises(InvalidParameter, match="MAX_IMAGE_MB"):
        decode(base64.b64encode(bytes(MAX_BYTES + 1)).decode(), SMALL, name="image")


@given(data=st.binary(max_size=100), spaces=st.lists(st.integers(0, 140)), chunk=st.sampled_from([4, 8, 64]))
def test_base64_is_the_same_however_it_is_cut_and_wrapped(data, spaces, chunk):
    text = base64.b64encode(data).decode()
    for place in spaces:
        text = text[:place] + "\n" + text[place:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_bytes, "CHUNK_BYTES", chunk)
        if data:
            assert decode(text, DEFAULTS, name="image") == data


def test_a_text_far_over_the_limit_is_not_decoded_to_its_end(monkeypatch):
    monkeypatch.setattr(image_bytes, "CHUNK_BYTES", 4096)
    # Were it read on, the wrong letters at the end would be what is complained about.
    with pytest.raises(InvalidParameter, match=r"larger than 0.001 MiB \(MAX_IMAGE_MB\)"):
        decode("A" * 8192 + "!", SMALL, name="image")


def test_spaces_around_a_text_are_ignored():
    assert fetch(service(), f"\n data:image/png;base64,{TEXT} ", name="image") == DATA


@pytest.mark.fault(26)
@pytest.mark.parametrize("url", ["http://example.com/a.png", " HTTPS://example.com/a.png"])
@pytest.mark.parametrize(
    ("setting", "changes"), [("ALLOW_REMOTE_IMAGES", {}), ("OFFLINE", {"allow_remote_images": True, "offline": True})]
)
def test_web_addresses_are_refused_unless_the_owner_allows_them(monkeypatch, url, setting, changes):
    monkeypatch.setattr(remote_image, "download", lambda *_, **__: pytest.fail("It was opened."))
    with pytest.raises(InvalidParameter, match=rf"^image is a web address, .* \({setting}\)") as caught:
        fetch(service(**changes), url, name="image")
    assert caught.value.param == "image"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "0x7f000001", "2130706433", "127.1", "169.254.169.254", "[::ffff:127.0.0.1]"],
)
def test_the_server_s_own_network_is_refused_even_where_web_addresses_are_allowed(monkeypatch, host):
    monkeypatch.setattr(safe_http.HTTPAdapter, "send", lambda *_, **__: pytest.fail("It was asked."))
    with pytest.raises(InvalidParameter, match=r"not a public address|host is unknown") as caught:
        fetch(service(allow_remote_images=True), f"http://{host}/a.png", name="image")
    assert caught.value.param == "image"


def test_what_was_downloaded_is_held_to_the_limit(monkeypatch):
    monkeypatch.setattr(remote_image, "download", lambda url, most, **_: bytes(most + 1))
    with pytest.raises(InvalidParameter, match="MAX_IMAGE_MB"):
        fetch(service(allow_remote_images=True), "http://example.com/a.png", name="image")


def test_one_text_or_a_list_of_them_becomes_a_list():
    assert fetch_all(service(), TEXT, name="images", max_count=2) == [DATA]
    assert fetch_all(service(), [TEXT, "YQ=="], name="images", max_count=2) == [DATA, b"a"]


@pytest.mark.parametrize(
    ("value", "param", "part"),
    [
        ([], "images", "contains no images; 1 to 2 are allowed"),
        ([TEXT] * 3, "images", "contains 3 images; 1 to 2 are allowed"),
        ([TEXT, "!"], "images[1]", "base64"),
        ([TEXT, 5], "images[1]", "must be text"),
        (None, "images", "must be text"),
        ({"a": TEXT}, "images", "must be text"),
    ],
)
def test_a_wrong_list_is_refused_by_the_name_of_what_is_wrong_in_it(value, param, part):
    with pytest.raises(InvalidParameter, match=part) as caught:
        fetch_all(service(), value, name="images", max_count=2)
    assert caught.value.param == param


def upload(data):
    return FileStorage(io.BytesIO(data), "a.png")


def test_an_upload_is_read_up_to_the_limit():
    assert read_upload(upload(bytes(MAX_BYTES)), SMALL, name="image") == bytes(MAX_BYTES)
    for data, part in ((bytes(MAX_BYTES + 1), "MAX_IMAGE_MB"), (b"", "is empty")):
        with pytest.raises(InvalidParameter, match=part) as caught:
            read_upload(upload(data), SMALL, name="image")
        assert caught.value.param == "image"


def test_an_upload_over_the_limit_is_not_read_to_its_end():
    stream = io.BytesIO(bytes(100_000))
    with pytest.raises(InvalidParameter):
        read_upload(FileStorage(stream), SMALL, name="image")
    assert stream.tell() == MAX_BYTES + 1


def test_uploads_are_found_as_one_part_and_as_a_list():
    files = MultiDict([("image", upload(b"1")), ("image[]", upload(b"2")), ("image[]", upload(b"3"))])
    assert read_uploads(files, SMALL, name="image", max_count=3) == [b"1", b"2", b"3"]
    assert read_uploads(files, SMALL, name="mask", max_count=1) == []


def test_wrong_uploads_are_named():
    files = MultiDict([("image[]", upload(b"1")), ("image[]", upload(b""))])
    for most, param in ((1, "image"), (2, "image[1]")):
        with pytest.raises(InvalidParameter) as caught:
            read_uploads(files, SMALL, name="image", max_count=most)
        assert caught.value.param == param


def test_raw_bytes_have_the_same_limit():
    assert checked(DATA, SMALL, name="image") == DATA
    with pytest.raises(InvalidParameter, match="MAX_IMAGE_MB"):
        checked(bytes(MAX_BYTES + 1), SMALL, name="image")


def test_importing_it_brings_neither_pillow_nor_numpy_nor_requests():
    module = "imageserver.api.inputs.images.image_bytes"
    program = f"import sys, {module}; print({{'PIL', 'numpy', 'requests'}} & sys.modules.keys())"
    outcome = subprocess.run([sys.executable, "-c", program], cwd=WORKING_DIR, capture_output=True, text=True)
    assert outcome.stdout == "set()\n", outcome.stderr
