"""Images that a request names by their addresses take no more memory than a body may have."""

from types import SimpleNamespace

import pytest
from flask import Blueprint, Flask, request

from imageserver.api.dialects.mcp.calls import prepare_call
from imageserver.api.dialects.mcp.tools import EditArguments
from imageserver.api.generation.conversation import ConversationMessage, last_question, sources_of
from imageserver.api.generation.saved_images import ImageReader
from imageserver.api.wsgi.bodies.arriving import BODY_KEY
from imageserver.errors import InvalidParameter
from imageserver.settings import Settings

ROOT = "http://localhost/images/"
FIRST, SECOND = f"{ROOT}first.png", f"{ROOT}second.png"
SIZE = 600_000


class SavingServer:
    """A server that has saved images of 600 kB, and takes bodies of 1 MiB."""

    def __init__(self):
        self.settings = Settings(_env_file=None, max_body_mb=1.0)
        self.opened = []
        self.url_signer = None
        self.links = SimpleNamespace(root=lambda: "http://localhost")
        self.storage_threads = SimpleNamespace(run=lambda work: work())
        self.outputs = SimpleNamespace(open_image=self.open_image)

    def open_image(self, name):
        self.opened.append(name)
        return SimpleNamespace(read_bytes=lambda: b"x" * SIZE)


@pytest.fixture
def server():
    app, native = Flask(__name__), Blueprint("native", __name__)
    native.add_url_rule("/images/<name>", "image", lambda name: name)
    app.register_blueprint(native)
    with app.test_request_context():
        yield SavingServer()


def test_an_address_that_is_named_sixteen_times_is_read_once(server):
    question = last_question(server, [ConversationMessage("user", "x", (FIRST,) * 16)], "messages")
    init_image = sources_of(server, question, None).init_image
    assert server.opened == ["first.png"]
    assert len(init_image.further) == 15
    assert {id(image) for image in init_image.further} == {id(init_image.image)}


def test_what_an_address_stands_for_counts_among_what_waits_and_what_is_in_the_body_does_not(server, monkeypatch):
    held = []
    monkeypatch.setitem(request.environ, BODY_KEY, SimpleNamespace(hold=held.append))
    reader = ImageReader(server)
    for _ in range(2):
        reader.read(FIRST, name="image")
    reader.read(lambda: b"x" * 1000, name="image")
    server.thread_pool = SimpleNamespace(run=lambda work, *arguments, **named: work(*arguments, **named))
    reader.read("eHg" * 1000, name="image")
    assert [size for size in held if size > 0] == [SIZE - len(FIRST), 1000]


@pytest.mark.parametrize("mask", [None, SECOND])
def test_more_bytes_than_a_body_may_have_are_refused_wherever_they_come_from(server, mask):
    images = (FIRST,) if mask else (FIRST, SECOND)
    question = last_question(server, [ConversationMessage("user", "x", images)], "messages")
    with pytest.raises(InvalidParameter, match=r"larger than 1 MiB together \(MAX_BODY_MB\)") as refused:
        sources_of(server, question, None, mask=mask)
    assert refused.value.param == ("input_image_mask" if mask else "messages")


def test_an_assistant_s_images_are_within_the_same_limit(server):
    with pytest.raises(InvalidParameter, match="together") as refused:
        prepare_call(server, EditArguments(prompt="x", image=[FIRST] * 8 + [SECOND]))
    assert (refused.value.param, server.opened) == ("image", ["first.png", "second.png"])
