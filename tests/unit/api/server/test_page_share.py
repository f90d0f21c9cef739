"""What a phone shares comes back inside the page, as data and never as markup, and only on a server without keys."""

import base64
import io
from types import SimpleNamespace

import pytest

from imageserver.api.credentials.key_entries import KeyEntry
from imageserver.api.inputs.form_parser import FormRequest
from tests.support.gallery import GalleryServer
from tests.support.images import one_colour

# As Chromium sends what another app shares: no page has asked for it.
FROM_AN_APP = {"Origin": "null", "Sec-Fetch-Site": "none"}


@pytest.fixture
def server(tmp_path):
    return GalleryServer(tmp_path, max_image_mb=0.01)


def share(server, image=None, **texts):
    files = {"image": (io.BytesIO(image), "photo.png", "image/png")} if image else {}
    return server.ask("POST", "/share", data=texts | files, headers=FROM_AN_APP, content_type="multipart/form-data")


def test_an_image_and_its_text_are_in_the_page_and_nowhere_else(server, tmp_path):
    before = set(tmp_path.rglob("*"))
    answer = share(server, image=one_colour(), text="a cat", title="Photo")
    assert (answer.status_code, answer.mimetype, answer.cache_control.no_store) == (200, "text/html", True)
    assert "require-trusted-types-for 'script'" in answer.headers["Content-Security-Policy"]
    assert '<template id="shared" data-problem="" data-prompt="a cat" data-kind="image/png">' in answer.text
    assert base64.b64encode(one_colour()).decode() in answer.text
    assert set(tmp_path.rglob("*")) == before


def test_a_link_without_an_image_is_a_text(server):
    assert 'data-prompt="https://example.org/cat"' in share(server, url="https://example.org/cat", title="A cat").text
    assert 'data-prompt="A cat"' in share(server, title="A cat").text


def test_nothing_that_is_shared_becomes_markup(server):
    answer = share(server, text='"><script>alert(1)</script>', image=b"</template><script>")
    assert "<script>alert" not in answer.text
    assert "</template><script>" not in answer.text


def test_what_is_too_large_is_refused_in_the_page(server):
    answer = share(server, image=bytes(200_000), text="a cat")
    assert (answer.status_code, 'data-problem="large" data-prompt=""' in answer.text) == (200, True)


@pytest.mark.parametrize("texts", [{"text": '"' * 70_000}, {"text": "a" * 40_000, "title": "b" * 40_000}], ids=list)
def test_texts_that_markup_would_multiply_are_refused_in_the_page(tmp_path, texts):
    answer = share(GalleryServer(tmp_path, max_image_mb=0.9), **texts)
    assert (answer.status_code, 'data-problem="large" data-prompt=""' in answer.text) == (200, True)
    assert '"large"' not in share(GalleryServer(tmp_path, max_image_mb=0.9), text='"' * 30_000).text


def test_text_beyond_ascii_that_is_too_long_for_any_form_is_refused_in_the_page_too(tmp_path, monkeypatch):
    monkeypatch.setattr("imageserver.api.inputs.wide_text.fields.MAX_WIDE_BYTES", 1000)
    server = GalleryServer(tmp_path, max_image_mb=0.9)
    server.app.request_class = FormRequest
    answer = share(server, text="é" * 1000)
    assert (answer.status_code, 'data-problem="large" data-prompt=""' in answer.text) == (200, True)


def test_the_limit_of_all_bodies_holds_for_what_is_shared_too(tmp_path):
    answer = share(GalleryServer(tmp_path, max_body_mb=0.1), image=bytes(200_000))
    assert (answer.status_code, 'data-problem="large"' in answer.text) == (200, True)


def test_what_is_shared_counts_among_all_that_waits_until_it_has_been_sent_back(tmp_path):
    app = GalleryServer(tmp_path, max_body_mb=0.2, max_waiting_mb=0.1).app

    def with_plain_body(environ, start_response):
        """A body of gunicorn or gevent has fewer methods than one of werkzeug's test client."""
        return counted(environ | {"wsgi.input": SimpleNamespace(read=environ["wsgi.input"].read)}, start_response)

    app.request_class = FormRequest
    counted, app.wsgi_app = app.wsgi_app, with_plain_body

    def send():
        files = {"image": (io.BytesIO(bytes(190_000)), "photo.png", "image/png")}
        return app.test_client().post("/share", data=files, headers=FROM_AN_APP, content_type="multipart/form-data")

    answers = [send() for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    for answer in answers:
        answer.close()
    assert send().status_code == 200


def test_a_page_with_an_image_is_sent_in_pieces_and_never_held_as_a_whole(tmp_path):
    image = bytes(range(251)) * 1900
    answer = share(GalleryServer(tmp_path, max_image_mb=0.9), image=image)
    pieces = list(answer.iter_encoded())
    page = b"".join(pieces)
    assert max(map(len, pieces)) < len(page) / 2
    assert answer.content_length == len(page)
    assert b'data-kind="image/png">' + base64.b64encode(image) + b"</template>" in page


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"}, {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        # A page in a frame without an origin; the second over http, where browsers do not tell the site.
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"}, {"Origin": "null"},
    ],
    ids=str,
)  # fmt: skip
def test_no_foreign_page_shares_through_its_visitor_s_browser(server, headers):
    answer = server.ask("POST", "/share", data={"text": "a cat"}, headers=headers)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "foreign_origin")


def test_with_keys_nothing_is_read_and_the_page_says_so(tmp_path):
    answer = share(GalleryServer(tmp_path, KeyEntry(name="ann", key="ann-key-0123456789")), text="a cat")
    assert (answer.status_code, 'data-problem="locked" data-prompt=""' in answer.text) == (200, True)
