"""A blank field that this server does not serve is left out, and nobody is warned of it."""

import pytest

from imageserver.api.dialects.automatic1111.bodies import Txt2ImgBody, checked, output_format_of, warnings_of
from imageserver.settings import Settings


@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_blank_feature_or_option_is_the_same_as_left_out(blank):
    nothing = dict.fromkeys(["alwayson_scripts", "tiling", "restore_faces", "script_name", "clip_skip"], blank)
    options = dict.fromkeys(["CLIP_stop_at_last_layers", "sd_vae", "samples_format"], blank)
    body = checked(Txt2ImgBody, nothing | {"override_settings": options}, Settings(_env_file=None))
    assert warnings_of(body) == []
    assert output_format_of(body, "webp") == "webp"
