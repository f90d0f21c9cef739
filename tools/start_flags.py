"""Serve, with the flags of HiDream-I1's start script as settings: `-m -e -p -d -c -t --port --host`.

Both start scripts end here, and show start_help.txt. Everything else goes to gunicorn as it is, after `--` also what
looks like one of these.
"""

import argparse
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
# What that script sets for NPUs; the user's own values win.
NPU_VARIABLES = {
    "HCCL_TIMEOUT": "7200", "HCCL_BUFFSIZE": "2048", "HCCL_SINGLE_NODE": "1", "ACL_STREAM_TIMEOUT": "7200",
    "PYTORCH_NPU_ALLOC_CONF": "max_split_size_mb:512", "TOKENIZERS_PARALLELISM": "false",
}  # fmt: skip
IGNORED_PROJECT = "WARNING -p has no effect: HiDream-I1's own code is not needed, diffusers generates."


class Flags(argparse.ArgumentParser):
    """The flags of HiDream-I1's start script; a wrong one ends the start with one sentence."""

    def __init__(self) -> None:
        super().__init__(add_help=False, allow_abbrev=False)
        self.add_argument("-m", "--model-path", "--model")
        self.add_argument("-e", "--extra-model-path")
        self.add_argument("-p", "--project-path")
        self.add_argument("-d", "--devices")
        self.add_argument("-c", "--device-count", type=int)
        self.add_argument("-t", "--device-type", choices=("npu", "cuda"))
        self.add_argument("--port")
        self.add_argument("--host")

    def error(self, message: str) -> NoReturn:
        sys.exit(f"{message[:1].upper()}{message[1:]}; gunicorn's own arguments come after --.")


def read_flags(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Return variables to set, what is left for gunicorn, and warnings; exits with a sentence where a flag is wrong."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    flags, others = Flags().parse_known_args(arguments[:end])
    named = {
        "MODEL": flags.model_path, "TEXT_ENCODER_PATH": flags.extra_model_path, "PORT": flags.port, "HOST": flags.host,
    }  # fmt: skip
    variables = {name: value for name, value in named.items() if value is not None}
    if flags.devices is not None or flags.device_count is not None:
        cards = _cards(flags.devices, flags.device_count)
        variables |= _device_variables(flags.device_type or _kind_here(), cards, environment)
    elif flags.device_type is not None:
        variables |= _device_variables(flags.device_type, ["0"], environment)
    return variables, [*others, *arguments[end + 1 :]], [IGNORED_PROJECT] if flags.project_path is not None else []


def _cards(listed: str | None, count: int | None) -> list[str]:
    cards = [each.strip() for each in listed.split(",")] if listed is not None else [str(n) for n in range(count or 0)]
    wanted = len(cards) if count is None else count
    if not all(card.isdecimal() for card in cards):
        sys.exit(f"-d {listed} is not a list of card numbers such as 0,1,2,3.")
    if len(set(cards)) < len(cards):
        sys.exit(f"-d {listed} names a card twice.")
    if not 1 <= wanted <= len(cards):
        sys.exit(f"-c {wanted} does not fit {'any cards' if listed is None else f'-d {listed}'}.")
    return cards[:wanted]


def _device_variables(kind: str, cards: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the device, several cards as one group that works on one image, and what NPUs need."""
    if kind == "cuda":
        return _named([f"cuda:{card}" for card in cards])
    # The visible cards are numbered from 0 again.
    seen = {"ASCEND_RT_VISIBLE_DEVICES": ",".join(cards), "DEVICE_COUNT": str(len(cards))}
    own = {name: value for name, value in NPU_VARIABLES.items() if name not in environment}
    return {**_named([f"npu:{number}" for number in range(len(cards))]), **seen, **own}


def _named(devices: Sequence[str]) -> dict[str, str]:
    return {"DEVICE": devices[0]} if len(devices) == 1 else {"DEVICES": "+".join(devices)}


def _kind_here() -> str:
    """Return npu where the driver of an Ascend card is, as that script's default, otherwise cuda."""
    return "npu" if any(Path("/dev").glob("davinci[0-9]*")) else "cuda"


def main() -> None:
    """Take the place of this process by gunicorn, or serve in it where there is no gunicorn."""
    variables, arguments, warnings = read_flags(sys.argv[1:], os.environ)
    for warning in warnings:
        print(warning, file=sys.stderr)
    for name in ("DEVICE", "DEVICES") if variables.keys() & {"DEVICE", "DEVICES"} else ():
        os.environ.pop(name, None)  # both at a time would contradict each other
    os.environ.update(variables)
    if sys.platform == "win32":
        sys.path[0], sys.argv = str(ROOT), ["qwen_image_server.py", "serve", *arguments]
        runpy.run_path(str(ROOT / "qwen_image_server.py"), run_name="__main__")
        return
    # Through the interpreter: the path in gunicorn's first line breaks when the folder moves.
    gunicorn = str(Path(sys.executable).parent / "gunicorn")
    command = [sys.executable, gunicorn, "-c", "gunicorn_config.py", *arguments, "qwen_image_server:app"]
    os.execv(sys.executable, command)


if __name__ == "__main__":
    main()
