"""What MODEL=auto has meant on other machines is kept within bounds, also for a later dispatcher."""

import pytest

from imageserver.dispatch.seats.engines.machine_choices import MAX_MACHINES, MachineChoices
from imageserver.protocol.initial_model import InitialModel


def choice(name, machine, *, was_loaded=True):
    return InitialModel(name, "Chosen.", "full", "It fits.", vae_tiling=False, was_loaded=was_loaded, machine=machine)


def test_of_more_machines_than_anybody_has_the_first_ones_are_forgotten():
    choices = MachineChoices()
    for number in range(MAX_MACHINES + 1):
        choices.record(choice("big", f"machine {number}"))
        choices.record(choice("big", "machine 0"))
    known = {number for number in range(MAX_MACHINES + 1) if choices.on(f"machine {number}")}
    assert known == set(range(MAX_MACHINES + 1)) - {1}


def test_the_demo_model_is_no_choice_because_nothing_else_fitted_then():
    choices = MachineChoices()
    choices.record(choice("demo", "near"))
    assert choices.on("near") is None
    choices.record(choice("big", "near", was_loaded=False))
    choices.record(choice("demo", "near"))
    assert choices.on("near") == choice("big", "near", was_loaded=False)


@pytest.mark.parametrize("content", ["", "[1]", "{}", '[{"name": "big"}]', "[[]]"])
def test_a_file_that_cannot_be_read_leaves_the_choice_to_the_machines(tmp_path, content):
    file = tmp_path / "far-models"
    file.write_text(content)
    choices = MachineChoices(file)
    assert choices.on("near") is None
    choices.record(choice("big", "near"))
    assert MachineChoices(file).on("near") == choice("big", "near")


def test_without_a_place_for_the_file_the_choices_of_this_dispatcher_hold(tmp_path):
    choices = MachineChoices(tmp_path / "missing" / "far-models")
    choices.record(choice("big", "near"))
    assert choices.on("near") == choice("big", "near")
