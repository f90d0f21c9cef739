"""The styles of the web page come from the owner's file, or from the package, and a mistake in them stops the start."""

import pytest

from imageserver.api.page import styles
from imageserver.api.page.styles import read_styles, require_styles
from imageserver.settings import Settings


def with_file(folder, content):
    file = folder / "mine.toml"
    file.write_text(content, encoding="utf-8")
    return Settings(_env_file=None, styles_file=file)


def read(folder, content):
    return read_styles(with_file(folder, content))


def test_the_package_has_styles_in_both_languages(tmp_path, monkeypatch):
    monkeypatch.setattr(Settings, "resolve", lambda self, path: tmp_path / path)
    shipped = read_styles(Settings(_env_file=None))
    assert len(shipped) >= 8
    for style in shipped.values():
        assert style.name.zh != style.name.en
        assert style.words.zh != style.words.en
    # A file of this name in the server's folder takes its place.
    (tmp_path / "styles.toml").write_text('[own]\nname = "Own"\nwords = "own words"\n')
    assert list(read_styles(Settings(_env_file=None))) == ["own"]


def test_a_text_is_for_all_languages_or_one_for_each(tmp_path):
    found = read(tmp_path, '[a]\nname = "A"\nwords = { en = "one", zh = "一" }\n')
    assert found["a"].model_dump() == {"name": {"en": "A", "zh": "A"}, "words": {"en": "one", "zh": "一"}}


def test_an_empty_file_leaves_no_styles(tmp_path):
    assert read(tmp_path, "") == {}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('[a]\nname = "A"\n', r"a\.words is not valid: Field required"),
        ('[a]\nname = "A"\nwords = { en = "one" }\n', r"a\.words\.zh is not valid: Field required"),
        ('[a]\nname = "A"\nwords = "w"\nwordz = "w"\n', r"a\.wordz is not valid: Extra"),
        (f'[a]\nname = "A"\nwords = "{(styles.MAX_CHARS + 1) * "x"}"\n', r"a\.words\.en is not valid"),
        ("".join(f'[s{n}]\nname = "A"\nwords = "w"\n' for n in range(styles.MAX_STYLES + 1)), "the file is not valid"),
        ('name = "A"\n', "name is not valid"),
        ("[a", "it is not valid TOML"),
    ],
)
def test_a_mistake_stops_the_start_with_one_sentence(tmp_path, content, complaint):
    with pytest.raises(SystemExit, match=rf"^STYLES_FILE=.*mine\.toml cannot be used: .*{complaint}.*\.$"):
        require_styles(with_file(tmp_path, content))


def test_a_file_that_is_named_and_missing_stops_the_start(tmp_path):
    with pytest.raises(SystemExit, match="cannot be read: No such file"):
        require_styles(Settings(_env_file=None, styles_file=tmp_path / "none.toml"))


def test_a_folder_that_may_not_be_looked_into_stops_the_start_with_one_sentence(monkeypatch):
    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.exists", forbidden)
    with pytest.raises(SystemExit, match=r"^STYLES_FILE=styles\.toml cannot be used: .*: Permission denied\.$"):
        require_styles(Settings(_env_file=None))


def test_a_file_that_breaks_while_the_server_runs_leaves_a_worker_that_starts_again_the_styles_of_the_package(
    tmp_path, caplog
):
    styles_there = read(tmp_path, "[a")
    assert len(styles_there) >= 8
    [said] = caplog.messages
    assert said.startswith("STYLES_FILE=")
    assert said.endswith("The web page has the styles of the package instead.")


def test_a_file_of_windows_may_begin_with_a_byte_order_mark(tmp_path):
    assert list(read(tmp_path, '\ufeff[a]\nname = "A"\nwords = "w"\n')) == ["a"]
