"""Images are decoded after admission, within the memory that there is for it."""

import contextlib
import tracemalloc
from types import SimpleNamespace

import pytest
from flask import Flask, g

from imageserver.api.generation.source_images import SourceImages
from imageserver.api.inputs.generate_request import GenerateBody
from imageserver.api.inputs.images import init_image
from imageserver.api.inputs.images.control_image import ControlImage
from imageserver.api.inputs.images.init_image import InitImage
from imageserver.api.inputs.images.request_images import Images
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.errors import InvalidParameter, QueueFull
from imageserver.generation import ModelInfo
from imageserver.imaging import decoding, fitting
from imageserver.settings import Settings
from tests.support.factories import generation
from tests.support.images import one_colour

IMAGE, WIDE = one_colour(96, 64), one_colour(3000, 30)
BODY = GenerateBody(prompt="a cat")
SETTINGS = Settings(_env_file=None, max_pixels=64 * 64)


class Recording:
    """What a service was asked for, in order."""

    def __init__(self, monkeypatch, refusal=None):
        self.seen, self.settings, self.thread_pool = [], SETTINGS, ThreadPool(1)
        self.client = SimpleNamespace(request_admission=self.request_admission)
        self.decoding_memory = SimpleNamespace(reserve=self.reserve)
        self._refusal = refusal
        read = decoding.read_image

        def read_image(data, **limits):
            self.seen.append("decoded")
            return read(data, **limits)

        monkeypatch.setattr(decoding, "read_image", read_image)

    @contextlib.contextmanager
    def reserve(self, size, timeout, environ):
        self.seen.append("memory")
        yield
        self.seen.append("freed")

    def request_admission(self, number, credential):
        self.seen.append("asked")
        if self._refusal is not None:
            raise self._refusal

    def read(self, images, *, asks=True):
        resolve = lambda size: (generation(width=size[0], height=size[1]), ["resolved"])  # noqa: E731
        with Flask(__name__).test_request_context():
            g.credential = ""
            return SourceImages(1, images, BODY, None, 5.0, asks).read(self, resolve)


def images(data=IMAGE, **fields):
    return Images(InitImage(image=data, **fields))


def test_an_image_is_decoded_after_admission_and_its_memory_is_held_meanwhile(monkeypatch):
    service = Recording(monkeypatch)
    sourced = service.read(images())
    assert service.seen == ["memory", "asked", "decoded", "freed"]
    assert (sourced.generation.width, sourced.generation.height) == (78, 64)
    assert len(sourced.pixels) == 78 * 64 * 3
    assert sourced.warnings == ["resolved", "image is 96x64; without a size asked for, 78x64 is generated."]


def test_one_job_of_the_pool_decodes_and_fits_an_image(monkeypatch):
    service = Recording(monkeypatch)
    run, fit = service.thread_pool.run, fitting.fit_image

    def recorded_run(function, *arguments):
        service.seen.append("job begins")
        result = run(function, *arguments)
        service.seen.append("job ends")
        return result

    def recorded_fit(*arguments):
        service.seen.append("fitted")
        return fit(*arguments)

    monkeypatch.setattr(service.thread_pool, "run", recorded_run)
    monkeypatch.setattr(fitting, "fit_image", recorded_fit)
    service.read(images())
    admitted = service.seen.index("asked") + 1
    assert service.seen[:admitted] == ["job begins", "job ends", "memory", "asked"], "the headers alone are read before"
    assert service.seen[admitted:] == ["job begins", "decoded", "fitted", "job ends", "freed"]


def test_a_full_queue_refuses_an_image_before_it_is_decoded(monkeypatch):
    service = Recording(monkeypatch, QueueFull("The server is full."))
    with pytest.raises(QueueFull):
        service.read(images())
    assert "decoded" not in service.seen


def test_one_that_may_have_been_generated_already_is_not_asked_for(monkeypatch):
    service = Recording(monkeypatch, QueueFull("The server is full."))
    assert service.read(images(), asks=False).pixels


@pytest.mark.parametrize("wrong", [b"no image", one_colour(200, 200)], ids=["no image", "too large"])
@pytest.mark.parametrize("place", ["image", "mask", "further", "control"])
def test_what_a_header_shows_is_refused_before_it_waits(monkeypatch, wrong, place):
    service = Recording(monkeypatch)
    given = {
        "image": images(wrong),
        "mask": images(mask=wrong),
        "further": images(further=(wrong,)),
        "control": Images(control_images=(ControlImage(image=wrong),)),
    }
    with pytest.raises(InvalidParameter):
        service.read(given[place])
    assert service.seen == []


@pytest.mark.parametrize(
    ("given", "info"),
    [
        (InitImage(image=one_colour(1500, 1000)), None),
        (InitImage(image=one_colour(1000, 1000), mask=one_colour(1000, 1000, "white")), None),
        (InitImage(image=one_colour(1000, 1000), further=(one_colour(1000, 1000),) * 5), None),
        (InitImage(image=one_colour(100, 100), further=(WIDE,) * 3), None),
        (
            InitImage(image=one_colour(1000, 1000), further=(one_colour(1000, 1000),) * 2),
            ModelInfo(name="", max_images=3),
        ),
    ],
    ids=["one", "a mask", "a row", "a long row", "apart"],
)
def test_no_more_memory_is_taken_than_was_reserved(given, info):
    settings = Settings(_env_file=None, max_pixels=1000 * 1000)
    needed = init_image.memory_needed(given, settings, info)
    tracemalloc.start()
    read = init_image.read(given, settings, info)
    read.fit(generation(width=500, height=500), 1.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Pillow's own memory, 4 bytes for a pixel of up to three images at a time, is not traced.
    assert peak < needed
