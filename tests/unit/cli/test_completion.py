"""The scripts for completion are understood by their shells, and complete commands, flags and values."""

import shutil
import subprocess

import pytest

from imageserver.cli.completion import SHELLS
from imageserver.cli.flags.parser import build_parser


@pytest.fixture(scope="module")
def scripts():
    return {shell: write(build_parser()) for shell, write in SHELLS.items()}


def bash_completes(script, line):
    words = line.split(" ")
    array = " ".join(f"'{word}'" for word in words)
    program = f"{script}\nCOMP_WORDS=({array}); COMP_CWORD={len(words) - 1}; _qwen_image_server; echo ${{COMPREPLY[*]}}"
    ended = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert ended.stderr == ""
    return ended.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("qwen-image-server gen", {"generate"}),
        ("qwen-image-server jobs ", {"list", "cancel"}),
        ("qwen-image-server jobs cancel --al", {"--all"}),
        ("qwen-image-server jobs list --state ", {"queued", "processing", "completed", "failed", "cancelled"}),
        ("qwen-image-server generate jobs --negative", {"--negative-prompt"}),
        ("qwen-image-server completion ", {"bash", "zsh", "fish"}),
    ],
)
def test_bash_completes_what_was_begun(scripts, line, offered):
    assert offered <= set(bash_completes(scripts["bash"], line))


def test_bash_does_not_offer_the_flags_of_another_command(scripts):
    assert "--negative-prompt" not in bash_completes(scripts["bash"], "qwen-image-server jobs list --")


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes_what_was_begun(scripts):
    def completes(line):
        program = f"{scripts['fish']}\ncomplete -C '{line}'"
        ended = subprocess.run(["fish", "-c", program], capture_output=True, text=True, timeout=30, check=True)
        return {text.partition("\t")[0] for text in ended.stdout.splitlines()}

    assert completes("qwen-image-server jo") == {"jobs"}
    assert {"list", "cancel"} <= completes("qwen-image-server jobs ")
    assert "queued" in completes("qwen-image-server jobs list --state ")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_reads_its_script(scripts):
    program = f"{scripts['zsh']}\nwhence _qwen_image_server"
    ended = subprocess.run(["zsh", "-f", "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout.strip() == "_qwen_image_server"
