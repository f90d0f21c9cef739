"""The flags of HiDream-I1's start script: what they mean here, and what is left for gunicorn."""

import re

import pytest

from tests.support.paths import ROOT
from tools import start_flags
from tools.start_flags import read_flags

AFTER = "gunicorn's own arguments come after --."


def variables(*arguments: str, **environment: str) -> dict[str, str]:
    return read_flags(arguments, environment)[0]


def test_the_documents_full_command_names_models_cards_and_address():
    found, left, warnings = read_flags(
        ["-m", "/data/HiDream-I1-Full", "-e", "/data/Llama", "-p", "/workspace/HiDream-I1", "-d", "0,1,2,3",
         "-t", "npu", "--port", "8088", "--host", "0.0.0.0"], {},
    )  # fmt: skip
    assert {name: found[name] for name in ("MODEL", "TEXT_ENCODER_PATH", "PORT", "HOST")} == {
        "MODEL": "/data/HiDream-I1-Full", "TEXT_ENCODER_PATH": "/data/Llama", "PORT": "8088", "HOST": "0.0.0.0",
    }  # fmt: skip
    assert found["DEVICES"] == "npu:0+npu:1+npu:2+npu:3"
    assert (found["ASCEND_RT_VISIBLE_DEVICES"], found["DEVICE_COUNT"]) == ("0,1,2,3", "4")
    assert found["HCCL_BUFFSIZE"] == "2048"
    assert left == []
    assert warnings == [start_flags.IGNORED_PROJECT]


def test_what_is_not_given_stays_as_it_is():
    assert variables() == {}
    assert variables("--model-path", "demo") == variables("--model", "demo") == {"MODEL": "demo"}


def test_npus_are_numbered_among_those_that_are_visible():
    found = variables("-d", "4,6", "-t", "npu")
    assert (found["DEVICES"], found["ASCEND_RT_VISIBLE_DEVICES"]) == ("npu:0+npu:1", "4,6")


def test_cuda_cards_keep_their_numbers():
    assert variables("-d", "1,3", "-t", "cuda") == {"DEVICES": "cuda:1+cuda:3"}
    assert variables("-t", "cuda") == {"DEVICE": "cuda:0"}


@pytest.mark.parametrize(
    ("arguments", "device"),
    [(["-c", "2"], {"DEVICES": "cuda:0+cuda:1"}), (["-d", "2,3", "-c", "1"], {"DEVICE": "cuda:2"})],
)
def test_a_count_limits_the_cards(arguments: list[str], device: dict[str, str]):
    assert variables(*arguments, "-t", "cuda") == device


def test_the_users_own_variables_win():
    assert "HCCL_TIMEOUT" not in variables("-d", "0", "-t", "npu", HCCL_TIMEOUT="60")


def test_other_arguments_go_to_gunicorn_and_after_two_dashes_all_do():
    assert read_flags(["--workers", "2", "--port", "1", "--", "-c", "own.py", "-t", "30"], {})[:2] == (
        {"PORT": "1"}, ["--workers", "2", "-c", "own.py", "-t", "30"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-d", "zero"], "-d zero is not a list of card numbers such as 0,1,2,3."),
        (["-d", "0,0"], "-d 0,0 names a card twice."),
        (["-d", "0,1", "-c", "3"], "-c 3 does not fit -d 0,1."),
        (["-c", "0"], "-c 0 does not fit any cards."),
        (["-t", "tpu"], f"Argument -t/--device-type: invalid choice: 'tpu' (choose from 'npu', 'cuda'); {AFTER}"),
    ],
)  # fmt: skip
def test_a_wrong_flag_ends_the_start_with_one_sentence(arguments: list[str], sentence: str):
    with pytest.raises(SystemExit) as ended:
        read_flags(arguments, {})
    assert ended.value.code == sentence


def test_the_help_of_the_start_scripts_names_every_flag_but_the_one_without_effect():
    text = (ROOT / "tools" / "start_help.txt").read_text()
    named = set(re.findall(r"(?<![\w-])--?[a-z-]+", text))
    flags = {name for action in start_flags.Flags()._actions for name in action.option_strings}
    assert flags - named == {"-p", "--project-path"}
