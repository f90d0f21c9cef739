"""What a conversation asks for: the last text of the user, and the images that it is about."""

from types import SimpleNamespace

import pytest

from imageserver.api.generation.conversation import (
    ConversationMessage,
    Question,
    last_question,
    read_message,
    sources_of,
)
from imageserver.errors import BadRequest, Forbidden, InvalidParameter, NotFound
from imageserver.generation import ModelInfo
from imageserver.settings import Settings

SERVICE = SimpleNamespace(settings=Settings(_env_file=None))
TEXT_ONLY = ModelInfo(name="words", kinds=("text",))


def said(role: str, text: str = "", *images: bytes) -> ConversationMessage:
    return ConversationMessage(role, text, tuple(lambda image=image: image for image in images))


def question_of(*messages: ConversationMessage) -> Question:
    return last_question(SERVICE, messages, "messages")


def test_images_of_the_question_go_before_those_of_earlier_messages():
    question = question_of(said("user", "a", b"old"), said("user", "both", b"first", b"second"))
    init_image = sources_of(SERVICE, question, None).init_image
    assert (init_image.image, init_image.further) == (b"first", (b"second",))


def test_the_last_image_before_the_question_is_its_source():
    question = question_of(
        said("user", "a", b"old"), said("tool"), said("assistant", "", b"x", b"last"), said("user", "b")
    )
    assert (question.prompt, sources_of(SERVICE, question, None).init_image.image) == ("b", b"last")


def test_a_model_that_generates_from_text_alone_leaves_earlier_images_out_and_says_so():
    question = question_of(said("assistant", "", b"old"), said("user", "b"))
    sources = sources_of(SERVICE, question, TEXT_ONLY)
    assert sources.init_image is None
    assert sources.warnings == ["The last image is ignored: the model generates from text alone."]
    # One that was sent with the question is left to the model to refuse.
    assert sources_of(SERVICE, question_of(said("user", "b", b"own")), TEXT_ONLY).init_image.image == b"own"


def test_an_earlier_image_that_is_gone_is_named():
    def gone() -> bytes:
        raise NotFound("gone")

    question = question_of(ConversationMessage("assistant", images=(gone,)), said("user", "b"))
    assert sources_of(SERVICE, question, None).warnings == [
        "The last image is no longer saved, so a new one was generated."
    ]


def test_an_earlier_image_whose_address_has_expired_is_left_out_and_one_of_the_question_is_refused():
    def expired() -> bytes:
        raise Forbidden("expired")

    earlier = question_of(ConversationMessage("assistant", images=(expired,)), said("user", "b"))
    sources = sources_of(SERVICE, earlier, None)
    assert sources.init_image is None
    assert sources.warnings == ["The address of the last image is not valid (any more), so a new one was generated."]
    with pytest.raises(Forbidden):
        sources_of(SERVICE, question_of(ConversationMessage("user", "b", (expired,))), None)


def test_more_images_than_a_request_may_have_are_refused_before_any_is_read():
    def unread() -> bytes:
        raise AssertionError("read")

    question = question_of(ConversationMessage("user", "x", (unread,) * 17))
    with pytest.raises(InvalidParameter, match="17 images were sent; the limit is 16"):
        sources_of(SERVICE, question, None)


@pytest.mark.parametrize("messages", [[], [said("assistant", "hello")], [said("user", "  ")]])
def test_a_conversation_without_a_question_is_refused(messages):
    with pytest.raises(BadRequest, match="it is the prompt"):
        question_of(*messages)


def test_parts_are_read_in_the_spelling_of_either_api_and_others_are_named():
    message = read_message(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "one"}, {"type": "input_text", "text": "two"}, "three",
                {"type": "image_url", "image_url": {"url": "a"}}, {"type": "input_image", "image_url": "b"},
                {"type": "input_audio"}, {},
            ],
            "images": [{"type": "image_url", "image_url": {"url": "c"}}],
        },
        "messages",
    )  # fmt: skip
    assert (message.text, message.images, message.unread) == (
        "one\ntwo\nthree",
        ("a", "b", "c"),
        ("'input_audio'", "None"),
    )


def test_base64_beside_a_content_is_an_image_as_ollama_s_clients_send_it():
    beside = ["aGk=", {"type": "image_url", "image_url": "a"}, None]
    message = read_message({"role": "user", "content": "one", "images": beside}, "messages")
    assert (message.text, message.images, message.unread) == ("one", ("aGk=", "a"), ())
