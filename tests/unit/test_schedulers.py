"""A scheduler is found by whatever name people know it."""

import pytest

from imageserver.schedulers import calls_factor, find_scheduler, split_name

KNOWN = {
    "DPM++ 2M": "DPMSolverMultistepScheduler", "DPM++ 2M Karras": "DPMSolverMultistepScheduler",
    "Euler": "EulerDiscreteScheduler", "Euler Karras": "EulerDiscreteScheduler", "Euler a": "EulerAncestral",
}  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("DPM++ 2M", "DPM++ 2M"), ("dpm++  2m", "DPM++ 2M"), ("Euler a", "Euler a"), ("EulerAncestral", "Euler a"),
        ("EulerDiscreteScheduler", "Euler"), ("EulerDiscreteScheduler Karras", "Euler Karras"), ("DDIM", None),
        ("Euler a Karras", None), ("DPMSolver++", "DPM++ 2M"), ("DPMSolver++ 2M", "DPM++ 2M"), ("DPMSolver++x", None),
        ("Euler" + " " * 300, None),
    ],
)  # fmt: skip
def test_names_of_both_worlds_are_known(asked, found):
    assert find_scheduler(asked, KNOWN, "DPM++ 2M Karras") == found


@pytest.mark.parametrize("asked", ["", " ", "DPM++ 2M Karras", "dpmsolvermultistepscheduler", "DPMSolver++ Karras"])
def test_the_models_own_scheduler_is_one_thing_under_all_its_names(asked):
    assert find_scheduler(asked, KNOWN, "DPM++ 2M Karras") == ""


def test_a_name_is_a_sampler_and_its_schedule():
    assert split_name("DPM++ 2M Karras") == ("DPM++ 2M", "Karras")
    assert split_name("Euler a") == ("Euler a", "")


def test_second_order_costs_twice_as_much():
    assert [calls_factor(name) for name in ("Heun", "DPM2 a Karras", "DPM++ 2M", "")] == [2, 2, 1, 1]
