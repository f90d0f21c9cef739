"""The help of every command is short and has an example; flags come from the settings and the schema of the API."""

import argparse
import base64
import json
import os
import re

import pytest

from imageserver.api.inputs.generate_request import GenerateBody
from imageserver.cli.commands import serve
from imageserver.cli.failure import CommandFailed
from imageserver.cli.flags import body_flags
from imageserver.cli.flags.parser import COMMANDS, CommandParser, build_parser, commands_below
from imageserver.settings import Settings, variables_of

# As much as two windows of 30 lines.
MAX_HELP_LINES = 60


def every_command(parser, name=""):
    for word, below in commands_below(parser).items():
        yield f"{name} {word}".strip(), below
        yield from every_command(below, f"{name} {word}")


def printed_help(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        build_parser(only=arguments[0]).parse_args(arguments)
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_is_short_and_ends_with_an_example(command, capsys):
    text = printed_help([command, "--help"], capsys)
    assert f"example: {'MODEL=sd-xl-base ' if command == 'doctor' else ''}" in text
    assert len(text.splitlines()) <= MAX_HELP_LINES
    assert max(map(len, text.splitlines())) <= 120


def test_every_command_can_print_json_but_those_that_speak_another_language():
    others = {"serve", "mcp", "completion"}
    silent = [
        name for name, parser in every_command(build_parser())
        if not commands_below(parser) and "--json" not in parser.format_help()
    ]  # fmt: skip
    assert set(silent) == others


@pytest.mark.parametrize(("command", "model"), [("generate", GenerateBody), ("serve", Settings)])
def test_all_help_lists_every_field_under_its_own_name(command, model, capsys):
    left_out = {"prompt", "loras", "save_to_file"} if command == "generate" else serve.SECRETS
    text = printed_help([command, "--help-all"], capsys)
    flags = set(re.findall(r"--[\w-]+", text))
    missing = [name for name in model.model_fields if f"--{name.replace('_', '-')}" not in flags]
    assert set(missing) == left_out


def test_secrets_are_no_flags_because_others_see_them():
    assert {"api_keys", "cluster_token", "enhance_key", "webhook_secret"} == serve.SECRETS


def parsed(*arguments):
    return build_parser(only=arguments[0]).parse_args(arguments)


def test_flags_become_the_body_of_a_request_with_the_types_of_its_schema(tmp_path):
    (tmp_path / "cat.png").write_bytes(b"a cat")
    options = parsed(
        "generate", "a hat", "--steps", "4", "--seed", "-1", "-n", "2", "--true-cfg-scale", "1.5", "--no-overlay",
        "--no-cache", "--language", "zh", "--image", str(tmp_path / "cat.png"), "--image", "https://x.example/y.png",
        "--lora", "night=0.5", "--lora", "ann/day",
    )  # fmt: skip
    assert body_flags.body_of(options) == {
        "prompt": "a hat", "num_inference_steps": 4, "seed": -1, "n": 2, "true_cfg_scale": 1.5, "add_overlay": False,
        "cache": False, "language": "zh",
        "image": [base64.b64encode(b"a cat").decode(), "https://x.example/y.png"],
        "loras": [{"name": "night", "scale": 0.5}, {"name": "ann/day"}],
    }  # fmt: skip


def test_several_control_images_are_files_in_json(tmp_path):
    (tmp_path / "edges.png").write_bytes(b"edges")
    controls = [{"image": str(tmp_path / "edges.png"), "scale": 0.5}, {"image": "https://x.example/y.png", "end": 1}]
    assert body_flags.body_of(parsed("generate", "x", "--controls", json.dumps(controls)))["controls"] == [
        {"image": base64.b64encode(b"edges").decode(), "scale": 0.5},
        {"image": "https://x.example/y.png", "end": 1.0},
    ]


def test_a_switch_that_the_api_takes_as_a_number_too_is_a_switch_here():
    assert body_flags.body_of(parsed("generate", "x", "--emphasis"))["emphasis"] is True
    assert body_flags.body_of(parsed("generate", "x", "--no-emphasis"))["emphasis"] is False


@pytest.mark.parametrize("flag", ["--mask", "--control-image"])
def test_a_second_image_where_there_is_one_is_refused(flag):
    options = parsed("generate", "x", flag, "https://x.example/a.png", flag, "https://x.example/b.png")
    with pytest.raises(CommandFailed, match=f"^{flag} is one image") as failed:
        body_flags.body_of(options)
    assert failed.value.status == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "x", "--controls", "{"], ["generate", "x", "--controls", '[{"image": "x", "weight": 1}]'],
        ["generate", "x", "--steps", "many"], ["generate", "x", "--strength", "2"], ["generate", "x", "--lora", "a=b"],
        ["serve", "--port", "70000"], ["serve", "--model-loading", "some"], ["nothing"], ["jobs"],
        ["generate", "x", "--ste", "4"],
    ],
)  # fmt: skip
def test_wrong_usage_is_one_sentence_and_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        parsed(*arguments)
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err.splitlines()[-1]


def test_flags_of_serve_become_variables_and_replace_the_other_setting_of_devices(monkeypatch):
    monkeypatch.setenv("DEVICES", "cpu,cpu")
    for name in ("DEVICE", "PORT", "ALLOW_OPEN", "MAX_QUEUE"):
        monkeypatch.setenv(name, "")
    serve.set_variables(parsed("serve", "--port", "5001", "--allow-open", "--device", "cpu", "--max-queue", "7"))
    settings = Settings(_env_file=None)
    assert (settings.port, settings.allow_open, settings.max_queue) == (5001, True, 7)
    assert (settings.device, settings.devices) == ("cpu", "")


def test_every_setting_that_is_a_flag_keeps_its_default_when_it_is_given(monkeypatch):
    """A flag that reads its own default differently would change what it does not mean to."""
    parser = CommandParser()
    serve.add_flags(parser)
    for name, information in Settings.model_fields.items():
        default = information.default
        if name in serve.SECRETS or default is None or default == "":
            continue
        flag = f"--{name.replace('_', '-')}"
        words = [flag if default else f"--no-{flag[2:]}"] if isinstance(default, bool) else [flag, str(default)]
        options = parser.parse_args(words)
        for variable in variables_of(name):
            monkeypatch.delenv(variable, raising=False)
        serve.set_variables(argparse.Namespace(**{name: getattr(options, name)}))
        assert getattr(Settings(_env_file=None), name) == default, name
        # Not by monkeypatch, which would put it back for the tests after this one.
        del os.environ[variables_of(name)[0]]
