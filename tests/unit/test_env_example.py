"""`.env.example` lists every setting with its default and its sentence of help.

Write it anew after a change of the settings: `python tests/unit/test_env_example.py > .env.example`
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from pydantic import AliasChoices  # noqa: E402

from imageserver.settings import Settings  # noqa: E402

EXAMPLE = ROOT / ".env.example"
HEADER = """\
# Settings of qwen-image-server. Copy this file to .env and remove the # in front of what you change.
# A variable of the environment wins over .env; an empty value means the default.
"""
# Read by the start scripts while they install, not by the server.
FOOTER = """
# Package index to take PyTorch from when the packages are installed; empty chooses the build for this machine.
#TORCH_INDEX_URL=
"""


def names_of(field):
    """Return the environment variables of a setting, the preferred one first."""
    alias = Settings.model_fields[field].validation_alias
    return [str(name) for name in alias.choices] if isinstance(alias, AliasChoices) else [field.upper()]


def shown(value):
    """Return a default as it is written into the environment."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def expected():
    """Return the file as it should be."""
    text = HEADER
    for field, information in Settings.model_fields.items():
        name, *others = names_of(field)
        also = f" Also read as {' or '.join(others)}." if others else ""
        text += f"\n# {information.description}{also}\n#{name}={shown(information.default)}\n"
    return text + FOOTER


def test_every_setting_stands_there_with_its_default_and_its_sentence():
    assert EXAMPLE.read_text(encoding="utf-8") == expected()


def test_uncommenting_every_line_changes_nothing(tmp_path, monkeypatch):
    for field in Settings.model_fields:
        for name in names_of(field):
            monkeypatch.delenv(name, raising=False)
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    uncommented = tmp_path / "env"
    uncommented.write_text("\n".join(line[1:] for line in lines if line.startswith("#") and not line.startswith("# ")))
    assert Settings(_env_file=uncommented) == Settings(_env_file=None)


if __name__ == "__main__":
    print(expected(), end="")
