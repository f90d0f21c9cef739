"""Which store the settings mean."""

from pathlib import Path

import pytest

from imageserver.outputs.folder import OutputFolder
from imageserver.outputs.object_store.remote_outputs import RemoteOutputs
from imageserver.outputs.opening import open_outputs
from imageserver.settings import Settings


@pytest.mark.parametrize(("url", "folder"), [("", "/srv/out"), ("file:///srv/new%20images/", "/srv/new images")])
def test_a_folder_needs_no_process(url, folder):
    outputs = open_outputs(Settings(_env_file=None, output_url=url, output_dir=Path("/srv/out")), None)
    assert isinstance(outputs, OutputFolder)
    assert outputs.path == Path(folder)


def test_every_other_address_is_that_of_a_store():
    assert isinstance(open_outputs(Settings(_env_file=None, output_url="s3://bucket"), None), RemoteOutputs)
