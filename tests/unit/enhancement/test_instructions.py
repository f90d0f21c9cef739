"""A language model is asked in the language of the prompt, and its answer becomes one line."""

import pytest

from imageserver.enhancement.answer import prompt_in
from imageserver.enhancement.instructions import instructions_for, language_of
from imageserver.enhancement.recent_answers import RecentAnswers


@pytest.mark.parametrize(
    ("prompt", "language"),
    [
        ("a red fox", "en"),
        ("一只红色的狐狸", "zh"),
        ("一只戴着 LED 眼镜的狐狸", "zh"),
        ('a door with the sign "欢迎光临"', "en"),
        ("赤い狐が雪の中を走る", "en"),
        ("列奥纳多・达芬奇画的一只狐狸", "zh"),
        ("狐狸ー雪地里奔跑", "zh"),
        ("", "en"),
    ],
)
def test_a_prompt_is_chinese_where_it_has_more_chinese_characters_than_words(prompt, language):
    assert language_of(prompt) == language


def test_instructions_differ_by_language_and_by_what_they_are_for():
    asked = [instructions_for(prompt, edits=edits) for prompt in ("fox", "狐狸") for edits in (False, True)]
    assert len(set(asked)) == 4
    assert all(text and "\n" not in text and "  " not in text for text in asked)


@pytest.mark.parametrize(
    ("answer", "prompt"),
    [
        (" A fox,\n\n running. \n", "A fox, running."),
        ('"A fox."', "A fox."),
        ("“一只狐狸”", "一只狐狸"),
        ('"Hello" and "Bye"', '"Hello" and "Bye"'),
        ('A sign that says "Open"', 'A sign that says "Open"'),
        ("<think>Foxes are red.</think>A fox.", "A fox."),
        ("Foxes are red.\n</think>\n\nA fox.", "A fox."),
        ("<think>Red?</think>No.</think>A fox.", "A fox."),
        (" <think>I never end", ""),
        ("A sign that says <think> in red", "A sign that says <think> in red"),
        ("A\x00fox\ud800\ufffd.", "A fox ."),
        ('"', '"'),
        ("\n \t", ""),
    ],
)
def test_an_answer_becomes_one_line_without_thoughts_and_quotation_marks_around_it(answer, prompt):
    assert prompt_in(answer) == prompt


def test_the_answer_that_was_used_longest_ago_gives_way():
    recent = RecentAnswers(capacity=2)
    for question in ("first", "second"):
        recent.keep(question, question.upper())
    assert recent.find("first") == "FIRST"
    recent.keep("third", "THIRD")
    assert [recent.find(question) for question in ("first", "second", "third")] == ["FIRST", None, "THIRD"]
