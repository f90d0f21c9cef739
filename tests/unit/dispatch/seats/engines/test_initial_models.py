"""What an engine has chosen is kept for the next one of its machine, and no better knowledge is lost."""

from dataclasses import replace

import pytest

from imageserver.dispatch.seats.engines.initial_models import InitialModels
from imageserver.dispatch.seats.engines.machine_choices import MachineChoices
from imageserver.generation import MemoryPlanName, ModelInfo
from imageserver.protocol.initial_model import InitialModel

NEAR, FAR = "10.0.0.7 cuda:0", "10.0.0.8 cuda:0"


def said(name: str, plan: MemoryPlanName = "full") -> InitialModel:
    """Return a choice whose engine has not loaded it yet."""
    return InitialModel(name, "Chosen.", plan, "It fits.", vae_tiling=False, was_loaded=False)


def loaded(name: str, plan: MemoryPlanName = "full") -> InitialModel:
    return replace(said(name, plan), was_loaded=True)


@pytest.fixture
def models() -> InitialModels:
    return InitialModels(None)


def test_a_plan_that_an_engine_died_of_gives_way_to_the_next_ones_plan(models):
    models.record(said("big"))
    models.record(said("big", "model-offload"))
    assert models.configured == said("big", "model-offload")
    models.record(loaded("big", "int8"))
    models.record(said("big"))
    assert models.configured == loaded("big", "int8"), "it has been loaded so"


def test_a_clients_model_is_not_forgotten_before_another_one_was_loaded(models):
    models.chosen = loaded("chosen")
    models.record(said("big"))
    assert (models.chosen, models.configured) == (loaded("chosen"), said("big"))
    models.record(loaded("big"))
    assert (models.chosen, models.configured) == (None, loaded("big"))


@pytest.mark.parametrize("choice", [said("small"), loaded("small")])
def test_what_the_settings_mean_on_another_machine_is_its_own_choice(models, choice):
    models.record(loaded("big"), NEAR)
    models.record(choice, FAR)
    assert (models.on(NEAR), models.on(FAR)) == (replace(loaded("big"), machine=NEAR), replace(choice, machine=FAR))
    assert models.configured is None, "that is this machine's"


def test_a_clients_model_has_the_plan_of_the_machine_that_it_was_loaded_on_last(models):
    models.chosen = InitialModel.of(ModelInfo(name="chosen"), NEAR)
    models.record(said("chosen", "model-offload"), FAR)
    assert models.chosen == replace(said("chosen", "model-offload"), machine=FAR)
    models.record(loaded("chosen", "model-offload"), FAR)
    assert models.chosen == replace(loaded("chosen", "model-offload"), machine=FAR)


def test_what_one_seat_has_learnt_of_machines_is_known_to_the_others_until_a_machine_has_left():
    machines = MachineChoices()
    first, second = InitialModels(None, machines), InitialModels(None, machines)
    first.record(loaded("big"), NEAR)
    second.record(loaded("small"), FAR)
    second.record(said("other"), NEAR)
    assert second.on(NEAR) == replace(loaded("big"), machine=NEAR), "that one was loaded"
    second.forget(NEAR)
    assert (first.on(NEAR), first.on(FAR)) == (None, replace(loaded("small"), machine=FAR))


def test_this_machine_is_forgotten_by_nobody(models):
    models.record(loaded("big"))
    models.forget("")
    assert models.configured == loaded("big")
