"""The gallery over HTTP: what a client sees of saved images and may do with them."""

import io
import zipfile

import pytest
from PIL import Image

from imageserver.api.credentials.key_entries import KeyEntry
from tests.support.gallery import GalleryServer
from tests.support.images import one_colour

ANN, BOB = "ann-key-0123456789", "bob-key-0123456789"


@pytest.fixture
def server(tmp_path):
    return GalleryServer(tmp_path)


@pytest.fixture
def locked(tmp_path):
    return GalleryServer(tmp_path, KeyEntry(name="ann", key=ANN), KeyEntry(name="bob", key=BOB, role="user"))


def test_a_saved_image_is_listed_with_all_that_generates_it_again(server):
    name = server.save(1, "a wolf")
    answer = server.ask("GET", "/v1/gallery").get_json()
    [item] = answer["data"]
    assert (item["name"], item["prompt"], item["seed"], item["model"]) == (name, "a wolf", 7, "demo")
    assert (item["width"], item["height"], item["favourite"], item["inputs"]) == (800, 400, False, [])
    assert item["settings"] == {"prompt": "a wolf", "seed": 7}
    assert item["url"].endswith(f"/images/{name}")
    assert (answer["next"], answer["total"]) == (None, 1)


def test_pages_search_and_favourites_are_asked_for_in_the_query(server):
    names = [server.save(number, prompt) for number, prompt in enumerate(["a wolf", "a red wolf", "a cat"])]
    first = server.ask("GET", "/v1/gallery?limit=2").get_json()
    assert server.listed(f"cursor={first['next']}") == names[:1]
    assert server.listed("q=WOLF%20red") == [names[1]]
    assert server.ask("PATCH", f"/v1/gallery/{names[0]}", json={"favourite": True}).get_json()["favourite"]
    assert server.listed("favourite=1") == [names[0]]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "cursor=x", "cursor=0", "favourite=2", "prompt=x", "q=" + 201 * "x"]
)
def test_a_wrong_query_is_refused_by_name(server, query):
    answer = server.ask("GET", f"/v1/gallery?{query}")
    assert (answer.status_code, answer.get_json()["param"]) == (422, query.partition("=")[0])


@pytest.mark.parametrize("body", [{"favourite": 1}, {"deleted": "yes"}, {"prompt": "x"}])
def test_a_wrong_change_is_refused_by_name(server, body):
    answer = server.ask("PATCH", f"/v1/gallery/{server.save(1)}", json=body)
    assert (answer.status_code, answer.get_json()["param"]) == (422, next(iter(body)))


def test_the_page_can_say_where_images_are_kept_how_long_and_who_sees_them(server, locked):
    kept = server.ask("GET", "/v1/gallery").get_json()["kept"]
    assert (kept["folder"], kept["max_age"], kept["max_mb"]) == ("images", 7 * 86400, 2048)
    assert (kept["shared"], kept["favourites_kept"]) == (True, True)
    assert not locked.ask("GET", "/v1/gallery", ANN).get_json()["kept"]["shared"]


def test_a_thumbnail_is_made_once_and_stays_in_the_browser(server):
    name = server.save(1)
    address = f"/v1/gallery/{name}/thumbnail"
    answer = server.ask("GET", address)
    assert Image.open(io.BytesIO(answer.data)).size == (320, 160)
    assert answer.mimetype == "image/webp"
    assert (answer.cache_control.max_age, answer.cache_control.immutable) == (365 * 86400, True)
    (server.outputs.path / name).write_bytes(one_colour(800, 400, "red"))
    assert server.ask("GET", address).data == answer.data
    assert server.ask("GET", address, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_thumbnail_is_not_served_once_its_image_is_gone_and_is_again_when_it_is_back(server, is_kept):
    name = server.save(1)
    address = f"/v1/gallery/{name}/thumbnail"
    tag = server.ask("GET", address).headers["ETag"]
    if not is_kept:
        server.thumbnails.delete([name])
    away = (server.outputs.path / name).rename(server.outputs.path / "away")
    assert server.ask("GET", address).status_code == 404
    assert server.ask("GET", address, headers={"If-None-Match": tag}).status_code == 404
    # A volume may be away: the gallery keeps the image, with its settings.
    assert server.listed() == [name]
    away.rename(server.outputs.path / name)
    assert server.ask("GET", address).status_code == 200


def test_an_image_whose_file_is_damaged_has_no_thumbnail_and_stays_in_the_gallery(server):
    name = server.save(1)
    (server.outputs.path / name).write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    answer = server.ask("GET", f"/v1/gallery/{name}/thumbnail")
    assert (answer.status_code, answer.get_json()["param"]) == (404, "name")
    assert "damaged" in answer.text
    assert server.listed() == [name]


def test_deletion_can_be_undone(server):
    name = server.save(1)
    assert server.ask("DELETE", f"/v1/gallery/{name}").status_code == 200
    assert server.listed() == []
    assert server.ask("PATCH", f"/v1/gallery/{name}", json={"deleted": False}).status_code == 200
    assert server.listed() == [name]


@pytest.mark.parametrize("body", [{}, {"names": None}, {"names": "all"}])
def test_images_are_one_zip_file(server, body):
    names = [server.save(number) for number in range(3)]
    if body.get("names"):
        body = {"names": [names[0], names[2], names[0]]}
    answer = server.ask("POST", "/v1/gallery/archive", json=body)
    assert answer.headers["Content-Disposition"] == "attachment; filename=images.zip"
    with zipfile.ZipFile(io.BytesIO(answer.data)) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == ([names[0], names[2]] if body.get("names") else names)
        assert archive.read(names[0]) == (server.outputs.path / names[0]).read_bytes()


def test_an_image_that_vanishes_is_left_out_of_the_zip_file(server):
    names = [server.save(number) for number in range(2)]
    (server.outputs.path / names[1]).unlink()
    answer = server.ask("POST", "/v1/gallery/archive", json={})
    assert zipfile.ZipFile(io.BytesIO(answer.data)).namelist() == names[:1]


@pytest.mark.parametrize(
    "name", ["unknown.png", "..%2Fstate%2Fstate.sqlite", "%2e%2e", "state.sqlite", "a%00.png", "."]
)
def test_no_name_reaches_anything_but_an_image_of_the_gallery(server, name):
    server.save(1)
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/thumbnail")):
        assert server.ask(method, f"/v1/gallery/{name}{path}").status_code in (404, 405)
    assert server.ask("PATCH", f"/v1/gallery/{name}", json={"favourite": True}).status_code in (404, 405)
    answer = server.ask("POST", "/v1/gallery/archive", json={"names": [name]})
    assert (answer.status_code, answer.get_json()["param"]) == (404, "names")


def test_with_keys_each_key_has_its_own_images_and_an_admin_may_ask_for_all(locked):
    own, other = locked.save(1, credential="bob"), locked.save(2, credential="ann")
    assert (locked.listed(key=BOB), locked.listed(key=ANN)) == ([own], [other])
    assert locked.listed("all=1", ANN) == [other, own]
    for method, path, options in (
        ("GET", "", {}), ("GET", f"/{other}", {}), ("DELETE", f"/{other}", {}), ("PATCH", f"/{other}", {"json": {}}),
        ("POST", "/archive", {"json": {}}),
    ):  # fmt: skip
        refused = locked.ask(method, f"/v1/gallery{path}?all=true", BOB, **options)
        assert (refused.status_code, refused.get_json()["code"]) == (403, "admin_required")
        if path.startswith("/Q"):
            assert locked.ask(method, f"/v1/gallery{path}", BOB, **options).status_code == 404
    assert locked.ask("POST", "/v1/gallery/archive", BOB, json={"names": [other]}).status_code == 404
    assert locked.ask("DELETE", f"/v1/gallery/{own}?all=true", ANN).status_code == 200
    assert locked.listed(key=BOB) == []


def test_with_keys_addresses_are_signed_and_nothing_opens_without_a_key_or_a_signature(locked):
    name = locked.save(1, credential="bob")
    assert locked.ask("GET", "/v1/gallery").status_code == 401
    [item] = locked.ask("GET", "/v1/gallery", BOB).get_json()["data"]
    for address in (item["url"], item["thumbnail_url"]):
        assert locked.ask("GET", address).status_code == 200
        assert locked.ask("GET", address.partition("?")[0]).status_code == 401
        assert locked.ask("GET", address.partition("?")[0], BOB).status_code == 403
    assert locked.ask("GET", f"/v1/gallery/{name}/thumbnail?sig={'0' * 32}").status_code == 401


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/a.png"), ("PATCH", "/a.png"), ("POST", "/archive")])
def test_no_foreign_page_changes_the_gallery(server, method, path):
    answer = server.ask(method, f"/v1/gallery{path}", json={}, headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.get_json()["code"]) == (403, "foreign_origin")


def test_without_a_gallery_its_routes_say_so(tmp_path):
    server = GalleryServer(tmp_path, gallery=False)
    for method, path in (("GET", ""), ("GET", "/a.png"), ("DELETE", "/a.png"), ("GET", "/a.png/thumbnail")):
        answer = server.ask(method, f"/v1/gallery{path}")
        assert (answer.status_code, "GALLERY=0" in answer.text) == (404, True)
    assert server.ask("POST", "/v1/gallery/archive", json={}).status_code == 404
