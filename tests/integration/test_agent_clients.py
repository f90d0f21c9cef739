"""Agents of openai-agents and chains of LangChain get images in a conversation; the full mode installs both."""

import json
import os
import subprocess
import sys
from typing import Any

from tests.support.full_mode import needs_full_mode
from tests.support.images import pixels
from tests.support.paths import ROOT

# Apart from the other packages: openai-agents needs websockets below 17, and these tests a newer one.
PACKAGES = ROOT / ".venv" / "agents"
pytestmark = needs_full_mode

SAID = "The image is 64x64, its seed is 7."


def said_by(script: str, url: str) -> dict[str, Any]:
    """Return what a script of tests/support/agents prints."""
    assert PACKAGES.is_dir(), "QIS_FULL=1 bash run_tests.sh installs them"
    outcome = subprocess.run(
        [sys.executable, f"tests/support/agents/{script}.py", url], cwd=ROOT, capture_output=True, text=True,
        timeout=100, env=os.environ | {"PYTHONPATH": str(PACKAGES), "NO_PROXY": "*"},
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    said: dict[str, Any] = json.loads(outcome.stdout)
    return said


def test_an_agent_generates_and_then_edits_the_image_of_its_history(fake_server):
    assert said_by("openai_agents", fake_server.url) == {
        "said": [SAID, SAID], "action": "edit", "last_event": "response.completed",
    }  # fmt: skip


def test_a_chain_gets_an_image_block_and_edits_it_by_its_message(fake_server):
    said = said_by("langchain", fake_server.url)
    assert said["blocks"] == ["image", "text"]
    # The fake engine edits by changing nothing.
    assert (pixels(said["edited"]) == 7).all()
    assert said["chat"].startswith("![image](http://")
