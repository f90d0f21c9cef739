"""The kinds of servers and the conditions that they are told."""

from pathlib import Path

import pytest

from benchmarks.conditions import Conditions, conditions_from_environment
from benchmarks.scenarios import BY_DEVICE, SCENARIOS
from benchmarks.servers import KINDS
from benchmarks.servers.process import ROOT, clean_environment


def test_conditions_arrive_as_they_were_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for trace, policy in ((None, "PASSIVE"), (tmp_path / "trace.jsonl", "ACTIVE")):
        sent = Conditions("simulated", tmp_path, 0.25, trace, policy)
        for name, value in sent.environment().items():
            monkeypatch.setenv(name, value)
        assert conditions_from_environment() == sent


def test_every_kind_has_a_file_a_letter_and_a_port() -> None:
    assert len({kind.letter for kind in KINDS}) == len({kind.name for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        command = " ".join(kind.command(5123))
        assert "{" not in command
        for word in command.split():
            if word.startswith("benchmarks.servers."):
                module = word.partition(":")[0].replace(".", "/")
                assert (ROOT / f"{module}.py").is_file()
                assert "5123" in command


def test_no_setting_of_the_user_reaches_a_measured_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_BATCH", "1")
    monkeypatch.setenv("MODEL", "elsewhere")
    assert not {"MAX_BATCH", "MODEL"} & clean_environment().keys()


def test_every_device_knows_its_scenarios() -> None:
    assert {name for names in BY_DEVICE.values() for name in names} == set(SCENARIOS)
    assert {"idle", "memory"} <= set(BY_DEVICE["cuda"]), "what only a card can show"
