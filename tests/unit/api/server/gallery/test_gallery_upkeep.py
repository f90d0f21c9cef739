"""The gallery follows the images on disk, and favourites outlive the others."""

import os
import time

import pytest

from imageserver.api.server.gallery import upkeep
from imageserver.errors import StorageUnavailable
from imageserver.outputs.gallery import gallery as gallery_module
from tests.support.gallery import GalleryServer


@pytest.fixture
def server(tmp_path):
    return GalleryServer(tmp_path)


def later(monkeypatch, seconds):
    now = time.time()
    monkeypatch.setattr(gallery_module.time, "time", lambda: now + seconds)


def test_a_deleted_image_is_really_deleted_after_the_undo(server, monkeypatch):
    name = server.save(1)
    server.ask("GET", f"/v1/gallery/{name}/thumbnail")
    server.ask("DELETE", f"/v1/gallery/{name}")
    upkeep.delete_due(server.service, server.gallery)
    assert (server.outputs.path / name).exists()
    later(monkeypatch, 100)
    upkeep.delete_due(server.service, server.gallery)
    assert not (server.outputs.path / name).exists()
    assert server.thumbnails.get(name) is None
    assert list(server.gallery.names()) == []


def test_a_deletion_that_the_store_refuses_is_tried_again(server, monkeypatch):
    name = server.save(1)
    server.ask("DELETE", f"/v1/gallery/{name}")
    later(monkeypatch, 100)
    with monkeypatch.context() as patch:
        patch.setattr(server.outputs, "delete", lambda name: (_ for _ in ()).throw(StorageUnavailable("away")))
        with pytest.raises(StorageUnavailable):
            upkeep.delete_due(server.service, server.gallery)
    upkeep.delete_due(server.service, server.gallery)
    assert not (server.outputs.path / name).exists()


def test_what_retention_or_a_person_deletes_leaves_the_gallery_with_its_thumbnail(server):
    gone, stays = server.save(1), server.save(2)
    server.ask("GET", f"/v1/gallery/{gone}/thumbnail")
    (server.outputs.path / gone).unlink()
    upkeep.forget_gone(server.service, server.gallery)
    assert server.listed() == [stays]
    assert server.thumbnails.get(gone) is None


def test_a_folder_that_is_away_for_a_while_costs_no_item(server):
    name = server.save(1)
    server.outputs.path.rename(server.outputs.path.with_name("away"))
    upkeep.forget_gone(server.service, server.gallery)
    assert server.listed() == [name]


def test_a_favourite_is_kept_beyond_its_age_and_nothing_is_deleted_before_they_are_known(server):
    favourite, other = server.save(1), server.save(2)
    for name in (favourite, other):
        os.utime(server.outputs.path / name, (1, 1))
    server.outputs.favourites = None
    server.outputs._last_sweep = float("-inf")
    server.outputs.maintain()
    assert len(list(server.outputs.path.iterdir())) == 2
    server.gallery.change(favourite, "", favourite=True)
    server.outputs.favourites = server.gallery.favourites()
    server.outputs._last_sweep = float("-inf")
    server.outputs.maintain()
    assert [file.name for file in server.outputs.path.iterdir()] == [favourite]


def refuse(outputs, monkeypatch, *refused):
    """Let the store delete none of these images, and return which were tried."""
    delete, tried = outputs.delete, []

    def refusing(name):
        tried.append(name)
        if name in refused:
            raise StorageUnavailable("The image could not be deleted.")
        delete(name)

    monkeypatch.setattr(outputs, "delete", refusing)
    return tried


def test_an_image_that_cannot_be_deleted_keeps_no_other_from_it_and_is_logged_once(server, monkeypatch, caplog):
    stuck, gone, *others = [server.save(number) for number in range(6)]
    (server.outputs.path / gone).unlink()
    for name in (stuck, *others[:2]):
        server.ask("DELETE", f"/v1/gallery/{name}")
    later(monkeypatch, 100)
    refuse(server.outputs, monkeypatch, stuck)
    care = upkeep.Upkeep(server.service, server.gallery)
    care.advance()
    assert server.gallery.due() == [stuck]
    assert [name for some in server.gallery.names() for name in some] == [stuck, *others[2:]]
    care.advance()
    assert [record.getMessage() for record in caplog.records if record.name == upkeep.__name__] == [
        "The gallery cannot be looked after: The image could not be deleted."
    ]
    monkeypatch.undo()
    later(monkeypatch, 100)
    care.advance()
    assert server.gallery.due() == []


def test_a_store_that_is_away_is_asked_for_a_few_deletions_only(server, monkeypatch):
    names = [server.save(number) for number in range(6)]
    for name in names:
        server.ask("DELETE", f"/v1/gallery/{name}")
    later(monkeypatch, 100)
    tried = refuse(server.outputs, monkeypatch, *names)
    with pytest.raises(StorageUnavailable):
        upkeep.delete_due(server.service, server.gallery)
    assert len(tried) == upkeep.MAX_REFUSED_AT_ONCE < len(names)


def test_without_a_gallery_what_was_deleted_in_an_earlier_one_is_still_deleted(server, tmp_path, monkeypatch):
    deleted, stays = server.save(1), server.save(2)
    server.ask("DELETE", f"/v1/gallery/{deleted}")
    later(monkeypatch, 100)
    started = []
    monkeypatch.setattr(upkeep, "INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(upkeep.gevent, "spawn", started.append)
    upkeep.start(GalleryServer(tmp_path, gallery=False).service)
    [finish] = started
    finish()
    assert [file.name for file in server.outputs.path.iterdir()] == [stays]
    assert server.listed() == [stays]
