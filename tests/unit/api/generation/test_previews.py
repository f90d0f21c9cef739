"""Another dialect's stream is found by the name that a body asks for."""

import pytest
from flask import Blueprint, Flask, Response

from imageserver.api.generation import previews
from imageserver.errors import InvalidParameter


def answer(content):
    return Response("film")


@pytest.fixture
def app():
    blueprint = Blueprint("film", __name__)
    blueprint.record_once(lambda state: previews.offer(state.app, "film", answer))
    app = Flask(__name__)
    app.register_blueprint(blueprint)
    return app


def test_a_dialect_that_offers_its_stream_is_found(app):
    with app.app_context():
        assert previews.other_format({"stream_format": "film"}) is answer


@pytest.mark.parametrize("content", [{}, {"stream_format": None}, {"stream_format": "openai"}])
def test_openais_own_stream_is_nobody_elses(app, content):
    with app.app_context():
        assert previews.other_format(content) is None


@pytest.mark.parametrize("content", [{}, {"stream_format": None}])
def test_a_body_that_names_no_stream_gets_the_default(app, content):
    with app.app_context():
        assert previews.other_format(content, "film") is answer
        assert previews.other_format({"stream_format": "openai"}, "film") is None


@pytest.mark.parametrize("name", ["theatre", 5, ["film"], {}])
def test_an_unknown_stream_is_refused_with_the_choices(app, name):
    with app.app_context(), pytest.raises(InvalidParameter, match="choose from openai, film") as raised:
        previews.other_format({"stream_format": name})
    assert raised.value.param == "stream_format"


def test_two_apps_offer_their_own_streams(app):
    with Flask("another").app_context(), pytest.raises(InvalidParameter):
        previews.other_format({"stream_format": "film"})
