"""A server without keys listens on this machine only, unless its owner wants it open."""

import pytest

from imageserver.settings import Settings
from imageserver.startup import require_closed


def settings(**chosen):
    return Settings(_env_file=None, **chosen)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.5", "gpu.local", "[::]"])
def test_an_open_server_without_keys_does_not_start_and_the_sentence_names_both_ways_out(host):
    with pytest.raises(SystemExit) as ending:
        require_closed(settings(), ["127.0.0.1", host])
    sentence = str(ending.value)
    assert f"HOST={host} " in sentence
    assert "API_KEYS=KEY" in sentence
    assert "ALLOW_OPEN=1" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "chosen",
    [{"allow_open": True}, {"api_keys": "a-key-of-the-tests"}, {"api_keys_file": "keys"}, {"hf_auth": "any"}],
    ids=str,
)
def test_keys_or_the_owner_s_word_open_it(chosen):
    require_closed(settings(**chosen), ["0.0.0.0"])


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.1.1", "::1", "localhost"])
def test_on_this_machine_it_needs_neither(host):
    require_closed(settings(), [host])
