"""What another machine has fetched is fetched here once, and nobody waits for another's file or a hub that is away."""

import threading
from pathlib import Path

import pytest

from imageserver.engine.downloads import ModelUnavailable, missing_loras
from imageserver.engine.downloads.missing_loras import REMEMBERED_SECONDS, MissingLoras
from imageserver.generation import Lora
from imageserver.settings import Settings

INK = Lora(name="anna/styles/ink", digest="1", hub_id="anna/styles:ink")
OIL = Lora(name="bob/styles/oil", digest="2", hub_id="bob/styles:oil")


class HeldHub:
    """Stands in for the fetching: it waits until it is open, and then puts the file there or fails."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.begun, self.open = threading.Event(), threading.Event()
        self.away = False

    def fetch(self, hub_id: str, settings: object, report: object) -> None:
        self.asked.append(hub_id)
        self.begun.set()
        if hub_id == INK.hub_id:
            assert self.open.wait(20)
        if self.away:
            raise ModelUnavailable("The hub is away.")
        file = self.folder / f"{hub_id.replace(':', '/')}.safetensors"
        file.parent.mkdir(parents=True)
        file.touch()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HeldHub:
    hub = HeldHub(tmp_path)
    monkeypatch.setattr(missing_loras, "fetch_lora", hub.fetch)
    return hub


def absent(folder: Path, now: float = 0.0) -> tuple[MissingLoras, list[float]]:
    clock = [now]
    return MissingLoras(Settings(_env_file=None, lora_dir=folder), lambda: clock[0]), clock


def test_another_file_is_waited_for_by_nobody_and_the_same_one_is_fetched_once(tmp_path: Path, hub: HeldHub) -> None:
    loras, _ = absent(tmp_path)
    waiting = [threading.Thread(target=loras.fetch, args=(INK,)) for _ in range(2)]
    try:
        for thread in waiting:
            thread.start()
        assert hub.begun.wait(20)
        loras.fetch(OIL)
        assert sorted(hub.asked) == [INK.hub_id, OIL.hub_id]
    finally:
        hub.open.set()
        for thread in waiting:
            thread.join(20)
    assert hub.asked.count(INK.hub_id) == 1


def test_a_file_that_is_there_waits_for_no_fetching(tmp_path: Path, hub: HeldHub) -> None:
    hub.open.set()
    loras, _ = absent(tmp_path)
    loras.fetch(INK)
    loras.fetch(INK)
    loras.fetch(Lora(name="the owner's", digest="3"))
    assert hub.asked == [INK.hub_id]


def test_a_hub_that_is_away_is_asked_again_only_after_a_while(tmp_path: Path, hub: HeldHub) -> None:
    hub.away = True
    loras, clock = absent(tmp_path)
    for moment in (0.0, REMEMBERED_SECONDS - 1):
        clock[0] = moment
        loras.fetch(OIL)
    assert hub.asked == [OIL.hub_id]
    hub.away, clock[0] = False, REMEMBERED_SECONDS
    loras.fetch(OIL)
    assert (tmp_path / "bob/styles/oil.safetensors").is_file()
