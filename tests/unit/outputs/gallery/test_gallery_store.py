"""The gallery finds saved images, and stays within its limits."""

import pytest

from imageserver.outputs.gallery import gallery as module
from imageserver.outputs.gallery.item import Selection
from tests.support.gallery import gallery_item, open_gallery


@pytest.fixture
def gallery(tmp_path):
    return open_gallery(tmp_path)


def names(gallery, **selection):
    return [item.name for item in gallery.items(Selection(**selection))]


def add(gallery, *items):
    gallery.add(items)


def at(monkeypatch, seconds):
    """Let the clock of the gallery go forward."""
    now = module.time.time()
    monkeypatch.setattr(module.time, "time", lambda: now + seconds)


def test_pages_follow_each_other_newest_first_also_while_images_are_added(gallery):
    add(gallery, *(gallery_item(f"{number}.png") for number in range(5)))
    first = gallery.page(Selection(), before=None, limit=2)
    add(gallery, gallery_item("new.png"))
    second = gallery.page(Selection(), before=first.before, limit=2)
    third = gallery.page(Selection(), before=second.before, limit=2)
    found = [[item.name for item in page.items] for page in (first, second, third)]
    assert found == [["4.png", "3.png"], ["2.png", "1.png"], ["0.png"]]
    assert third.before is None


def test_a_full_last_page_says_that_it_is_the_last(gallery):
    add(gallery, *(gallery_item(f"{number}.png") for number in range(4)))
    assert gallery.page(Selection(), before=None, limit=4).before is None


def test_each_credential_sees_its_own_and_nobody_in_particular_sees_all(gallery):
    add(gallery, gallery_item("a.png", credential="ann"), gallery_item("b.png", credential="bob"))
    assert [names(gallery, credential=each) for each in ("ann", "bob", "")] == [
        ["a.png"],
        ["b.png"],
        ["b.png", "a.png"],
    ]
    assert [gallery.count(each) for each in ("ann", "eve", "")] == [1, 0, 2]
    assert gallery.find("a.png", "bob") is None
    assert gallery.change("a.png", "bob", deleted=True) is None
    assert names(gallery, credential="ann") == ["a.png"]


@pytest.mark.parametrize("query", ["RED circle", "circle red", "  red  ", "édith", "红"])
def test_a_search_finds_all_its_words_in_any_order_and_case(gallery, query):
    add(gallery, gallery_item("a.png", "A red Circle for ÉDITH, 红色"), gallery_item("b.png", "a blue circle"))
    assert names(gallery, query=query) == ["a.png"]


@pytest.mark.parametrize("query", ["%", "_", "'", "red blue", "circle\\"])
def test_no_character_of_a_search_means_anything_but_itself(gallery, query):
    add(gallery, gallery_item("a.png", "a red circle"))
    assert names(gallery, query=query) == []


def test_a_search_goes_on_beyond_the_rows_of_one_step(gallery, monkeypatch):
    monkeypatch.setattr(module, "ROWS_PER_STEP", 3)
    add(gallery, gallery_item("old.png", "a wolf"), *(gallery_item(f"{number}.png") for number in range(7)))
    assert names(gallery, query="wolf") == ["old.png"]
    assert len(names(gallery)) == 8


def test_favourites_are_listed_alone(gallery):
    add(gallery, gallery_item("a.png"), gallery_item("b.png"), gallery_item("c.png"))
    gallery.change("b.png", "", favourite=True)
    gallery.change("c.png", "", favourite=True)
    gallery.change("c.png", "", favourite=False)
    assert names(gallery, favourites_only=True) == ["b.png"]
    assert gallery.favourites() == {"b.png"}


def test_a_deleted_image_is_hidden_at_once_and_comes_back_for_a_minute(gallery, monkeypatch):
    add(gallery, gallery_item("a.png"))
    gallery.change("a.png", "", favourite=True)
    gallery.change("a.png", "", deleted=True)
    assert (names(gallery), gallery.count(""), gallery.favourites(), gallery.due()) == ([], 0, frozenset(), [])
    assert gallery.change("a.png", "", deleted=False).favourite
    assert names(gallery) == ["a.png"]
    gallery.change("a.png", "", deleted=True)
    at(monkeypatch, module.UNDO_SECONDS + 1)
    assert gallery.change("a.png", "", deleted=False) is None
    assert gallery.due() == []
    at(monkeypatch, module.UNDO_MARGIN_SECONDS)
    assert gallery.due() == ["a.png"]


def test_deleting_again_does_not_prolong_the_minute(gallery, monkeypatch):
    add(gallery, gallery_item("a.png"))
    gallery.change("a.png", "", deleted=True)
    at(monkeypatch, module.UNDO_SECONDS - 1)
    gallery.change("a.png", "", deleted=True)
    at(monkeypatch, module.UNDO_MARGIN_SECONDS + 2)
    assert gallery.due() == ["a.png"]


def test_above_its_number_the_oldest_leave_and_favourites_last(tmp_path):
    gallery = open_gallery(tmp_path, max_items=3)
    add(gallery, *(gallery_item(f"{number}.png") for number in range(5)))
    gallery.change("0.png", "", favourite=True)
    assert sorted(gallery.forget_excess()) == ["1.png", "2.png"]
    assert names(gallery) == ["4.png", "3.png", "0.png"]
    assert gallery.forget_excess() == []


def test_what_waits_for_its_deletion_does_not_leave_before_it_and_is_not_counted(tmp_path, monkeypatch):
    gallery = open_gallery(tmp_path, max_items=2)
    add(gallery, *(gallery_item(f"{number}.png") for number in range(4)))
    gallery.change("0.png", "", deleted=True)
    assert gallery.forget_excess() == ["1.png"]
    assert gallery.forget_excess() == []
    at(monkeypatch, 2 * module.UNDO_SECONDS)
    assert gallery.due() == ["0.png"]


def test_many_that_cannot_be_deleted_keep_no_other_from_its_turn(gallery, monkeypatch):
    add(gallery, *(gallery_item(f"{number}.png") for number in range(6)))
    for number in range(6):
        gallery.change(f"{number}.png", "", deleted=True)
    at(monkeypatch, 2 * module.UNDO_SECONDS)
    monkeypatch.setattr(module, "MAX_DELETED_AT_ONCE", 3)
    seen = set()
    for _ in range(1000):
        seen |= set(gallery.due())
        if len(seen) == 6:
            break
    assert len(seen) == 6
    assert gallery.has_deleted()


def test_above_its_size_the_oldest_leave_until_the_rest_fits(tmp_path):
    gallery = open_gallery(tmp_path, max_bytes=30_000)
    add(gallery, *(gallery_item(f"{number}.png", "a" * 5000) for number in range(6)))
    while gallery.forget_excess():
        pass
    # A prompt counts twice: as a setting, and as what is searched.
    assert names(gallery) == ["5.png", "4.png"]


def test_an_image_whose_name_is_used_again_is_a_new_one(gallery):
    add(gallery, gallery_item("a.png", credential="ann"), gallery_item("b.png", credential="ann"))
    gallery.change("a.png", "ann", favourite=True)
    add(gallery, gallery_item("a.png", credential="bob"))
    assert gallery.find("a.png", "ann") is None
    assert names(gallery) == ["a.png", "b.png"]
    assert gallery.favourites() == frozenset()


def test_what_is_kept_comes_back_as_it_was(gallery, tmp_path):
    settings = {"prompt": "„红“ \x00 '\n", "seed": 2**64 - 1, "loras": [{"name": "night", "scale": 0.5}]}
    add(gallery, gallery_item("a.png", settings=settings, inputs=("image", "mask")))
    found = open_gallery(tmp_path).find("a.png")
    assert (found.settings, found.inputs, found.favourite) == (settings, ("image", "mask"), False)


def test_names_are_those_of_all_images_also_of_deleted_ones(gallery):
    add(gallery, *(gallery_item(f"{number}.png") for number in range(3)))
    gallery.change("1.png", "", deleted=True)
    assert [name for portion in gallery.names() for name in portion] == ["0.png", "1.png", "2.png"]
    gallery.forget(["0.png", "unknown.png"])
    assert gallery.find("0.png") is None


@pytest.mark.parametrize("selection", [Selection(), Selection(credential="ann"), Selection(favourites_only=True)])
def test_a_page_sorts_nothing(gallery, selection):
    connection, statements = gallery._database.open(patience=1), []
    connection.set_trace_callback(statements.append)
    gallery.page(selection, before=None, limit=9)
    connection.set_trace_callback(None)
    plans = [row["detail"] for each in statements for row in connection.execute(f"EXPLAIN QUERY PLAN {each}")]
    assert len(statements) == 2
    assert not [plan for plan in plans if "TEMP B-TREE" in plan]


def test_to_forget_many_takes_few_statements_and_others_run_in_between(gallery, monkeypatch):
    add(gallery, *(gallery_item(f"{number}.png") for number in range(450)))
    connection, statements, pauses = gallery._database.open(patience=1), [], []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    connection.set_trace_callback(statements.append)
    gallery.forget([f"{number}.png" for number in range(449)])
    connection.set_trace_callback(None)
    assert (len(statements), pauses) == (3, [0, 0, 0])
    assert names(gallery) == ["449.png"]
    assert not gallery.has_deleted()
