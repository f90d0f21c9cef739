"""Every block of the users' pages is run, read by the code that it is for, or said to need what the tests lack."""

import json
import time
import tomllib

import pytest

from imageserver.api.credentials.key_entries import read_entries
from imageserver.api.inputs.controls import ControlChoice
from imageserver.api.outbound.webhooks import WebhookHosts, WebhookSender
from imageserver.api.page.styles import read_styles
from imageserver.lora_folder import LoraFolder
from imageserver.registry import read_registry
from imageserver.settings import Settings
from tests.support import documented_commands
from tests.support.documented_commands import RUN_HERE, USERS_PAGES, Block, blocks_of, is_tested

ADDRESS = "localhost:5000"
BLOCKS = [block for page in USERS_PAGES for block in blocks_of(page)]
# The first words of blocks that are no command lines, and the tests here that use them.
DATA = {
    '["my-sd"]': "test_the_entry_of_a_model_is_read",
    "[watercolour]": "test_the_styles_are_read",
    '{"prompt": "a house by the sea", "controls"': "test_the_list_of_controls_is_one",
    '{\n  "description": "Images in 8 steps.': "test_the_profile_of_a_lora_is_read",
    "# NAME:KEY": "test_the_file_of_keys_is_read",
    "import hashlib": "test_the_receiver_of_webhooks_knows_ours_and_no_other",
    # By tests/integration/test_documented_api.py.
    '{\n  "error": "aspect_ratio': "test_a_failure_looks_as_documented",
}


def is_run(block: Block) -> bool:
    """Return whether a test runs the whole block, as `test_documented_api.py` does with those that ask a server."""
    if block.language in ("bash", "python") and ADDRESS in block.content and "test_" not in block.content:
        return True
    if any(block.content.startswith(beginning) for beginning in DATA):
        return True
    return block.language == "bash" and all(line in RUN_HERE or is_tested(line) for line in block.lines)


def test_no_block_of_the_users_pages_is_shown_that_nobody_has_run_without_saying_what_it_needs():
    shown = [block for block in BLOCKS if block.language != "text"]
    assert len(shown) > 50
    unsaid = [f"{block.page.name}: {block.content}" for block in shown if not is_run(block) and not block.is_marked]
    assert unsaid == []


@pytest.mark.parametrize(
    ("indent", "title"), [("", ""), ("   ", ""), ("", ' title="x"')], ids=["of a page", "of a list", "with a title"]
)
def test_a_block_that_nobody_runs_is_found_and_a_sentence_below_it_is_enough(tmp_path, indent, title):
    page, shown = tmp_path / "page.md", f"# A\n\n{indent}```bash{title}\n{indent}rm -rf x\n{indent}```\n\n"
    page.write_text(f"{shown}## B\n\nNot run by the tests: it needs a card.\n", "utf-8")
    [block] = blocks_of(page)
    assert (block.content, is_run(block)) == ("rm -rf x\n", False)
    assert not block.is_marked, "it stands in another section"
    page.write_text(f"{shown}{indent}Not run by the tests: it needs a card.\n", "utf-8")
    assert next(blocks_of(page)).is_marked


@pytest.mark.parametrize("name", ["", "test_that_is_not_there", "test_a_new_key"])
def test_a_line_is_tested_by_a_test_that_is_there_and_not_by_its_file(monkeypatch, name):
    line = "qwen-image-server keys new ann"
    assert is_tested(line)
    monkeypatch.setattr(documented_commands, "TESTED", {line: f"../unit/cli/test_keys.py::{name}"})
    with pytest.raises(AssertionError):
        is_tested(line)


def content_of(beginning: str) -> str:
    [found] = [block.content for block in BLOCKS if block.content.startswith(beginning)]
    return found


@pytest.mark.parametrize("beginning", DATA)
def test_every_block_that_is_no_command_is_used_by_a_test(beginning):
    assert content_of(beginning)


def test_the_entry_of_a_model_is_read(tmp_path):
    (tmp_path / "models.toml").write_text(content_of('["my-sd"]'))
    assert read_registry(tmp_path / "models.toml")["my-sd"].steps == 28


def test_the_styles_are_read(tmp_path):
    file = tmp_path / "styles.toml"
    file.write_text(content_of("[watercolour]"), encoding="utf-8")
    found = read_styles(Settings(_env_file=None, styles_file=file))
    assert set(found) == set(tomllib.loads(file.read_text(encoding="utf-8"))) == {"watercolour", "house"}


def test_the_list_of_controls_is_one():
    shown = json.loads(content_of('{"prompt": "a house by the sea", "controls"'))
    assert [ControlChoice.model_validate(each).scale for each in shown["controls"]] == [0.8, 0.5]


def test_the_profile_of_a_lora_is_read(tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(b"weights")
    (tmp_path / "mine.json").write_text(content_of('{\n  "description": "Images in 8 steps.'))
    profile = LoraFolder(tmp_path).find("mine").profile
    assert (profile.num_inference_steps, profile.true_cfg_scale) == (8, 1.0)


def test_the_file_of_keys_is_read(tmp_path):
    file = tmp_path / "keys"
    file.write_text(content_of("# NAME:KEY").replace("KEY1", "1" * 16).replace("KEY2", "2" * 16))
    ann, bob = read_entries(Settings(_env_file=None, api_keys_file=file))
    assert (ann.name, bob.name, bob.limits.requests_per_minute) == ("ann", "bob", 60)


def test_the_receiver_of_webhooks_knows_ours_and_no_other():
    shown: dict[str, object] = {}
    exec(content_of("import hashlib"), shown)
    sender, now = WebhookSender(b"secret", WebhookHosts("public")), str(int(time.time()))
    headers = {"X-Webhook-Timestamp": now, "X-Webhook-Signature": sender.signature(now, b"body")}
    assert shown["is_genuine"](headers, b"body", "secret")
    assert not shown["is_genuine"](headers, b"another", "secret")
    assert not shown["is_genuine"](headers, b"body", "wrong")
    old = str(int(now) - 400)
    assert not shown["is_genuine"](
        {"X-Webhook-Timestamp": old, "X-Webhook-Signature": sender.signature(old, b"body")}, b"body", "secret"
    )
