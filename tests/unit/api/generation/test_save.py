"""Where images are saved on the machine is not told to clients."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from imageserver.api.generation.save import shown_paths
from imageserver.settings import Settings


@pytest.mark.parametrize(
    ("folder", "shown"), [("tmp", "tmp/a.png"), ("data/out", "data/out/a.png"), ("/srv/ann/out", "out/a.png")]
)
def test_a_client_reads_the_folder_as_it_is_set_but_not_where_an_absolute_one_is(folder, shown):
    service = SimpleNamespace(settings=Settings(_env_file=None, output_dir=Path(folder)))
    assert shown_paths(service, ["a.png"]) == [shown]
