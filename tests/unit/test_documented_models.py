"""What the docs say about MODEL=auto and about cards is what the code chooses."""

import re

import pytest

from imageserver.engine.models.candidates import ALTERNATIVES, LADDERS, OWN_MEMORY, SHARED_MEMORY, Candidate
from imageserver.settings import shipped_registry
from tests.support.docs import rows_of
from tests.support.paths import ROOT

GIB_IN_GB = 1024**3 / 1e9


def number(cell: str) -> float:
    return float((re.search(r"[\d.]+", cell) or ["0"])[0])


def line_of(candidate: Candidate) -> str:
    memory = f" MEMORY={candidate.memory}" if candidate.memory != "full" else ""
    return f"MODEL={candidate.model}{memory}{' VAE_TILING=1' if candidate.vae_tiling else ''}"


def command_in(cell: str) -> str:
    return cell.split("`")[1]


def test_the_table_of_limits_has_every_line_of_the_choice_in_its_order():
    rows = rows_of(ROOT / "docs" / "models.md", "Device")
    apple = next(index for index, row in enumerate(rows) if row[0].startswith("Apple"))
    for table, ladder in ((rows[:apple], OWN_MEMORY), (rows[apple:-1], SHARED_MEMORY)):
        documented = [(command_in(row[3]), number(row[1]), number(row[2])) for row in table]
        assert documented == [(line_of(each), each.free, each.ram) for each in ladder if each.is_downloaded]
    assert command_in(rows[-1][3]) == "MODEL=demo"


def test_the_page_names_the_limit_of_what_is_never_downloaded():
    [kept] = [each for each in OWN_MEMORY if not each.is_downloaded]
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert f"`{kept.model}`, which earlier versions downloaded, from {kept.free:g} GiB on" in text


@pytest.mark.parametrize("row", rows_of(ROOT / "README.md", "Card"), ids=lambda row: row[0])
def test_every_card_of_the_readme_gets_a_line_that_auto_knows_with_no_less_memory(row):
    _, command, download, needed, _, licence = row
    name = command_in(command).split()[0].removeprefix("MODEL=")
    if name == "demo":
        return
    entry = shipped_registry()[name]
    assert (number(download), licence) == (entry.download_gb, entry.licence)
    known = [each for ladder in (*LADDERS.values(), ALTERNATIVES) for each in ladder]
    limits = {each for each in known if line_of(each) == command_in(command)}
    assert limits, f"MODEL=auto neither chooses nor names {command}"
    ram = re.search(r"([\d.]+) GB of RAM", needed)
    for limit in limits:
        assert number(needed) <= limit.free * GIB_IN_GB <= 1.08 * number(needed)
        assert (float(ram[1]) if ram else 0) == limit.ram
