"""Models that are folders are called by the last name of the folder, and no name means two of them."""

from imageserver.dispatch.client.model_names import ModelNames


def test_a_folder_is_called_by_its_last_name_and_found_by_it():
    names = ModelNames("/data/foo", ["night"])
    assert (names.shown("/data/foo"), names.real("foo")) == ("foo", "/data/foo")
    assert (names.shown("Qwen/Qwen-Image"), names.real("Qwen/Qwen-Image")) == ("Qwen/Qwen-Image", "Qwen/Qwen-Image")


def test_folders_with_the_same_last_name_are_told_apart_in_whatever_order_they_are_loaded():
    folders = ["/a/foo", "/b/foo", "/c/bar"]
    first, second = ModelNames("/c/bar", []), ModelNames("/c/bar", [])
    first.learn(folders)
    for folder in reversed(folders):
        second.learn([folder])
    assert first.folders == second.folders
    shown = [first.shown(folder) for folder in folders]
    assert len(set(shown)) == 3
    assert [first.real(name) for name in (*shown, "foo")] == [*folders, "foo"], "foo alone would mean either"


def test_the_model_of_the_settings_keeps_its_name_beside_others():
    names = ModelNames("/a/foo", [])
    names.learn(["/b/foo"])
    assert names.shown("/a/foo") == "foo" != names.shown("/b/foo")


def test_a_folder_takes_no_name_that_already_means_a_model():
    for taken in ("night", "auto", "demo"):
        shown = ModelNames(f"/data/{taken}", ["night"]).shown(f"/data/{taken}")
        assert shown != taken
        assert shown.startswith(f"{taken}-")
