"""A saved image reaches its client from wherever it is kept."""

from types import SimpleNamespace

import pytest
from flask import Flask

from imageserver.api.generation.image_response import image_response
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.outputs.store import StoredImage

DATA = b"0123456789"


@pytest.fixture
def get():
    """Return a function that requests an image which a store holds in parts of four bytes."""
    app, pool = Flask("test"), ThreadPool(1)

    def get(address="", query="", method="GET", **headers):
        image = StoredImage(
            "a.png", len(DATA), b"" if address else DATA[:4], lambda start: DATA[start : start + 4], address
        )
        outputs = SimpleNamespace(open_image=lambda name: image)
        service = SimpleNamespace(outputs=outputs, storage_threads=pool)
        with app.test_request_context(method=method, query_string=query, headers=headers):
            return image_response(service, "a.png")

    return get


def test_an_image_of_a_store_is_passed_on_part_by_part(get):
    response = get()
    assert response.get_data() == DATA
    assert (response.mimetype, response.content_length) == ("image/png", 10)


def test_a_client_that_has_it_is_told_so(get):
    again = get(**{"If-None-Match": get().headers["ETag"]})
    assert again.status_code == 304


def test_a_range_is_answered_with_the_range(get):
    response = get(Range="bytes=3-6")
    assert (response.status_code, response.get_data()) == (206, b"3456")


def test_the_address_of_the_store_is_not_remembered_beyond_its_end(get):
    response = get(address="https://store/a.png?signature")
    assert (response.status_code, response.location) == (302, "https://store/a.png?signature")
    assert response.cache_control.no_store


def test_the_head_of_an_image_is_no_address_of_the_store_as_that_is_signed_for_get(get):
    response = get(address="https://store/a.png?signature", method="HEAD")
    assert (response.status_code, response.mimetype, response.content_length) == (200, "image/png", 10)


def test_a_page_that_may_show_nothing_of_the_store_gets_the_image_from_here(get):
    response = get(address="https://store/a.png?signature", query="redirect=0")
    assert (response.status_code, response.get_data()) == (200, DATA)
