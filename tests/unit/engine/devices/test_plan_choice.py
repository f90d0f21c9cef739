"""The fastest plan that fits is taken and said; what does not fit is refused with what would."""

import dataclasses

import pytest
import torch

from imageserver.engine.devices import devices, memory_plans
from imageserver.engine.devices.memory_needs import ModelWeights
from imageserver.engine.devices.plan_choice import GIB, NoPlanFits, Room, choose
from imageserver.generation import MemoryPlanName

CUDA, CPU, MPS = torch.device("cuda", 0), torch.device("cpu"), torch.device("mps")
MEGAPIXEL = 1024 * 1024
# Qwen-Image in bfloat16, whose VAE takes 1.3 GiB for a megapixel.
WEIGHTS = ModelWeights(
    {"transformer": 38 * GIB, "text_encoder": 15 * GIB, "vae": GIB // 4}, decoding=1350, largest_file=9 * GIB,
    divisible=37 * GIB,
)  # fmt: skip


def choice(
    wanted: MemoryPlanName | str, device: torch.device = CUDA, weights: ModelWeights = WEIGHTS, cards: int = 1
) -> tuple[str, str]:
    """Return the name of the chosen plan, and its reason."""
    dtype = torch.bfloat16 if device.type != "cpu" else torch.float32
    plan, reason = choose(wanted, "m", Room(weights, dtype, device, MEGAPIXEL, cards=cards))  # type: ignore[arg-type]
    return plan.name, reason


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Free GiB by kind of device, the generation of the card and which packages there are; changed by the tests."""
    free: dict[str, float] = {"cuda": 80, "cpu": 128, "mps": 80, "torchao": 1, "bitsandbytes": 1, "capability": 90}
    monkeypatch.setattr(devices, "free_memory", lambda device: int(free[device.type] * GIB))
    monkeypatch.setattr(devices, "gpu_name", lambda device: "Card")
    monkeypatch.setattr(devices, "compute_capability", lambda device: divmod(int(free["capability"]), 10))
    monkeypatch.setattr(memory_plans.importlib.util, "find_spec", lambda name: free[name] or None)
    return free


@pytest.mark.parametrize(
    ("card", "ram", "plan"),
    [
        (80, 128, "full"),
        (80, 8, None),
        (50, 128, "int8"),
        (24, 128, "int8-offload"),
        (24, 16, None),
        (12, 128, "group-offload"),
        (4, 128, "sequential-offload"),
        (1, 128, None),
    ],
)
def test_auto_takes_the_fastest_that_fits(machine, card: float, ram: float, plan: str | None) -> None:
    machine |= {"cuda": card, "cpu": ram}
    if plan is None:
        with pytest.raises(NoPlanFits, match=r"^m needs about 54\.6 GiB and Card has .* GiB free: "):
            choice("auto")
        return
    chosen, reason = choice("auto")
    assert chosen == plan
    assert reason.startswith("MEMORY=auto: ")
    assert plan == "full" or f"(MEMORY={plan})" in reason


def test_without_the_package_images_stay_exact_and_the_transformer_on_the_card(machine) -> None:
    machine |= {"cuda": 48, "torchao": 0}
    assert choice("auto")[0] == "encoder-offload"
    machine["cuda"] = 39.3
    assert choice("auto")[0] == "model-offload"
    with pytest.raises(NoPlanFits, match="MEMORY=int8 is not possible here: it needs the package torchao"):
        choice("int8")


def test_decoding_in_tiles_comes_before_a_slower_plan_and_is_said(machine) -> None:
    z_image = ModelWeights({"transformer": int(12.3e9), "text_encoder": int(8e9), "vae": int(0.17e9)}, decoding=4400)
    tiles = " Large images will probably be decoded in tiles."
    for free, plan, in_tiles in ((24, "full", False), (21, "full", True), (19, "int8", False), (12, "int8", True)):
        machine["cuda"] = free
        chosen, reason = choice("auto", weights=z_image)
        assert (chosen, reason.endswith(tiles)) == (plan, in_tiles), free


def test_a_plan_that_does_not_fit_is_refused_with_those_that_do(machine) -> None:
    machine["cuda"] = 24
    with pytest.raises(NoPlanFits) as refused:
        choice("full")
    assert str(refused.value) == (
        "m needs about 54.6 GiB and Card has 24.0 GiB free, too little for MEMORY=full: what fits is "
        "MEMORY=int8-offload or MEMORY=nf4 or MEMORY=group-offload or MEMORY=sequential-offload."
    )


def test_controlnets_stay_on_the_card_and_take_no_ram_from_what_is_offloaded(machine) -> None:
    controlled = dataclasses.replace(WEIGHTS, resident=2 * GIB)
    machine |= {"cuda": 39.3, "cpu": 59, "torchao": 0}
    assert choice("auto")[0] == "model-offload"
    assert choice("auto", weights=controlled)[0] == "group-offload"
    machine["cuda"] = 41.3
    assert choice("auto", weights=controlled)[0] == "model-offload", "58.6 GiB of RAM are needed, with or without"


@pytest.mark.parametrize(
    ("card", "resident", "advice"),
    [
        (4, 2, "leave CONTROLNET empty, or choose a smaller ControlNet or model."),
        (1, 2, "choose a quantized or smaller model."),
        (1, 0, "choose a quantized or smaller model, or MODEL=demo."),
    ],
)
def test_without_a_controlnet_only_what_would_fit_then_is_proposed(
    machine, card: int, resident: int, advice: str
) -> None:
    machine["cuda"] = card
    with pytest.raises(NoPlanFits) as refused:
        choice("auto", weights=dataclasses.replace(WEIGHTS, resident=resident * GIB))
    assert str(refused.value).endswith(f": {advice}")


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("full", "MEMORY=full needs about 9.0 GiB of RAM, which has 8.0 GiB free: choose a quantized or smaller model"),
        ("auto", "Card has 80.0 GiB free, and MEMORY=full needs about 9.0 GiB of RAM, which has 8.0 GiB free: choose"),
    ],
)
def test_where_ram_is_what_lacks_it_is_said(machine, wanted: str, sentence: str) -> None:
    machine["cpu"] = 8
    with pytest.raises(NoPlanFits) as refused:
        choice(wanted)
    assert sentence in str(refused.value)


def test_what_is_needed_includes_controlnets_and_what_is_free_is_what_is_free(machine) -> None:
    machine["cuda"] = 24
    with pytest.raises(
        NoPlanFits, match=r"^m needs about 56\.6 GiB, 2\.0 of them for CONTROLNET, and Card has 24\.0 GiB free, too"
    ):
        choice("full", weights=dataclasses.replace(WEIGHTS, resident=2 * GIB))


@pytest.mark.parametrize(
    "name", ["encoder-offload", "model-offload", "int8-offload", "group-offload", "sequential-offload", "nf4", "float8"]
)
def test_a_cpu_cannot_offload_or_take_four_bits(machine, name: MemoryPlanName) -> None:
    machine["capability"] = 0
    with pytest.raises(NoPlanFits, match=f"MEMORY={name} is not possible here: "):
        choice(name, CPU)


def test_memory_that_is_shared_with_the_machine_is_never_counted_twice(machine) -> None:
    """On Apple's devices weights that wait in RAM take the memory that they were to leave."""
    machine |= {"mps": 45, "cpu": 45, "torchao": 0, "capability": 0}
    with pytest.raises(NoPlanFits, match=r"choose a quantized or smaller model, or MODEL=demo"):
        choice("auto", MPS)
    with pytest.raises(NoPlanFits, match="MEMORY=model-offload is not possible here: a device that shares"):
        choice("model-offload", MPS)
    machine |= {"mps": 60, "cpu": 1}
    assert choice("auto", MPS)[0] == "full"


def test_a_cpu_takes_eight_bits_where_it_must(machine) -> None:
    machine["cpu"] = 70
    assert choice("auto", CPU, ModelWeights({"transformer": 80 * GIB}))[0] == "int8"


def test_two_cards_hold_together_what_neither_can_alone(machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine["cuda"] = 40
    with pytest.raises(NoPlanFits, match="too little for MEMORY=device-map"):
        choice("device-map")
    monkeypatch.setattr(devices, "all_of_kind", lambda device: [CUDA, torch.device("cuda", 1)])
    chosen, reason = choice("device-map")
    assert chosen == "device-map"
    assert reason == "MEMORY=device-map was asked for: the model's parts are spread over all devices of the kind."
    assert choice("auto")[0] != "device-map"


def test_a_plan_by_name_is_taken_although_another_would_be_faster(machine) -> None:
    chosen, reason = choice("nf4")
    assert (chosen, reason[:28]) == ("nf4", "MEMORY=nf4 was asked for: tr")


def test_float8_is_for_cards_that_multiply_it_and_only_by_name(machine) -> None:
    machine["cuda"] = 40
    assert choice("float8")[0] == "float8"
    assert choice("auto")[0] == "int8"
    machine["capability"] = 86
    with pytest.raises(NoPlanFits, match=r"MEMORY=float8 is not possible here: .* capability 8\.9"):
        choice("float8")


@pytest.mark.parametrize(("card", "plan"), [(80, "full"), (40, "tensor-parallel"), (30, "int8")])
def test_cards_of_a_group_divide_what_does_not_fit_one(machine, card: float, plan: str) -> None:
    machine["cuda"] = card
    assert choice("auto", cards=2)[0] == plan
    assert choice("auto", cards=1)[0] in ("full", "int8", "int8-offload")


def test_four_cards_hold_what_two_cannot(machine) -> None:
    machine |= {"cuda": 30, "torchao": 0}
    assert choice("auto", cards=2)[0] != "tensor-parallel"
    plan, reason = choice("auto", cards=4)
    assert plan == "tensor-parallel"
    assert reason.endswith("so each card of the group holds a part of the transformer (MEMORY=tensor-parallel).")


def test_one_card_and_a_transformer_in_one_file_cannot_be_divided(machine) -> None:
    with pytest.raises(NoPlanFits, match="it needs a group of cards, such as DEVICES=cuda:0\\+cuda:1"):
        choice("tensor-parallel")
    with pytest.raises(NoPlanFits, match="unquantized in the model's folder"):
        choice("tensor-parallel", weights=ModelWeights({"transformer": GIB}), cards=2)
