"""MODEL=auto takes the best model with an open licence that the free memory holds, and says why."""

import json

import pytest

from imageserver.engine.downloads import ModelUnavailable
from imageserver.engine.models.automatic_choice import choose, recommend
from imageserver.engine.models.candidates import LADDERS, TEXT_WIDTHS, candidates, entry_of
from imageserver.engine.models.machine import Machine
from imageserver.engine.runner.controlnet import NetKind
from imageserver.settings import PACKAGE_DIR, Settings, shipped_registry

ALL = frozenset(candidates("cuda"))
FOR_SDXL, FOR_SD15 = NetKind("ControlNetModel", 2048), NetKind("ControlNetModel", 768)
FOR_QWEN, FOR_DEMO = NetKind("QwenImageControlNetModel", 3584), NetKind("QwenImageControlNetModel", 192)
TURBO, SDXL, SD15, QWEN = "z-image-turbo", "sd-xl-base", "sd-1.5", "qwen-image-2512"


def settings(**changes):
    return Settings(_env_file=None, **changes)


def machine(free, *, ram=64, kind="cuda", **changes):
    options = {"device": "Some Card", "disk": 1000.0, "has_torchao": True} | changes
    return Machine(kind=kind, free=free, ram=ram, **options)


def line(choice):
    return choice.model, choice.memory, choice.vae_tiling


@pytest.mark.parametrize(
    ("free", "ram", "chosen"),
    [
        (79.0, 64, (QWEN, "full", False)),
        (62.0, 64, (QWEN, "full", False)),
        (61.9, 64, (TURBO, "full", False)),
        (24.0, 64, (TURBO, "full", False)),
        (23.9, 64, (TURBO, "full", True)),
        (21.0, 8, (TURBO, "full", True)),
        (20.9, 24, (TURBO, "model-offload", False)),
        (20.9, 23, (TURBO, "int8", True)),
        (12.0, 12, (TURBO, "int8", True)),
        (11.9, 13, (TURBO, "int8-offload", False)),
        (8.3, 13, (TURBO, "int8-offload", False)),
        (8.3, 12, (SDXL, "model-offload", False)),
        (6.3, 8, (SDXL, "model-offload", False)),
        (6.3, 7, (SD15, "full", False)),
        (3.2, 4, (SD15, "full", False)),
        (3.1, 64, ("demo", "auto", False)),
    ],
)
@pytest.mark.parametrize("kind", ["cuda", "xpu"])
def test_the_limits_of_a_card_with_memory_of_its_own(kind, free, ram, chosen):
    assert line(choose(machine(free, ram=ram, kind=kind), settings())) == chosen


@pytest.mark.parametrize(
    ("free", "chosen"),
    [
        (90.0, (TURBO, "full", False)),
        (23.9, (TURBO, "full", True)),
        (20.9, (SDXL, "full", True)),
        (7.9, (SD15, "full", False)),
        (3.1, ("demo", "auto", False)),
    ],
)
def test_shared_memory_is_never_offloaded(free, chosen):
    assert line(choose(machine(free, kind="mps"), settings())) == chosen


def test_a_cpu_generates_with_the_demo_model_and_the_reason_names_a_real_one():
    choice = choose(machine(200.0, kind="cpu", on_disk=ALL), settings())
    assert choice.model == "demo"
    assert "MODEL=sd-1.5" in choice.reason


@pytest.mark.parametrize(
    ("free", "kind", "settings_of_it"),
    [
        (23.0, "cuda", "MODEL=z-image-turbo VAE_TILING=1"),
        (14.0, "cuda", "MODEL=z-image-turbo MEMORY=model-offload"),
        (79.0, "xpu", f"MODEL={QWEN}"),
        (64.0, "cpu", "MODEL=sd-1.5"),
    ],
)
def test_the_demo_model_is_served_with_the_line_that_starts_a_real_one(free, kind, settings_of_it):
    # Whatever is on the disk.
    found = recommend(machine(free, kind=kind, disk=1.0), settings(model="demo"))
    assert found.settings == settings_of_it
    assert found.settings.startswith(f"MODEL={found.name}")
    entry = shipped_registry()[found.name]
    assert (found.download_gb, found.licence) == (entry.download_gb, entry.licence)


def test_what_is_recommended_needs_no_download_where_it_is_on_the_disk_and_nothing_is_where_nothing_fits():
    assert recommend(machine(24.0, on_disk=frozenset({TURBO})), settings()).download_gb == 0
    assert recommend(machine(3.1), settings()) is None


def test_beside_what_is_recommended_stand_the_others_that_the_memory_holds():
    assert recommend(machine(64.0, kind="cpu"), settings()).alternatives == ()
    found = recommend(machine(79.0), settings())
    assert TURBO in found.alternatives
    assert found.name not in found.alternatives
    assert len(set(found.alternatives)) == len(found.alternatives)


def test_what_is_recommended_offline_says_that_its_download_needs_the_network():
    offline = settings(offline=True)
    assert recommend(machine(14.0), offline).settings == "MODEL=z-image-turbo MEMORY=model-offload OFFLINE=0"
    assert recommend(machine(24.0, on_disk=frozenset({TURBO})), offline).settings == "MODEL=z-image-turbo"
    stored = recommend(machine(64.0, kind="cpu", on_disk=frozenset({SD15})), offline)
    assert (stored.settings, stored.download_gb) == ("MODEL=sd-1.5", 0)


@pytest.mark.parametrize(
    ("ram", "dtype", "is_enough"), [(6.4, "auto", True), (6.3, "auto", False), (3.2, "bfloat16", True)]
)
def test_on_a_cpu_a_real_model_is_named_only_where_the_ram_holds_it(ram, dtype, is_enough):
    cpu, chosen = machine(ram, ram=ram, kind="cpu"), settings(dtype=dtype)
    assert (recommend(cpu, chosen) is not None) is is_enough
    assert (SD15 in choose(cpu, chosen).reason) is is_enough


def test_a_card_without_bfloat16_gets_what_generates_in_float16():
    assert choose(machine(79.0, bfloat16=False), settings()).model == SDXL
    assert choose(machine(79.0, bfloat16=False), settings(dtype="bfloat16")).model == QWEN


def test_what_is_on_the_disk_goes_first_and_the_best_of_it():
    choice = choose(machine(79.0, on_disk=frozenset({SD15, TURBO})), settings())
    assert (choice.model, choice.download_gb) == (TURBO, 0)
    assert "its files are on the disk" in choice.reason
    assert f"MODEL={QWEN} would fit with 63.5 GB free on the disk" in choice.reason
    # Where it does not fit, it does not count.
    assert choose(machine(5.0, on_disk=frozenset({TURBO})), settings()).model == SD15


def test_an_older_download_of_qwen_image_serves_on_and_is_never_downloaded():
    assert choose(machine(61.0, on_disk=frozenset({"qwen-image"})), settings()).model == "qwen-image"
    assert choose(machine(61.0), settings()).model == TURBO


def test_offline_nothing_is_chosen_that_is_not_there():
    choice = choose(machine(79.0), settings(offline=True))
    assert choice.model == "demo"
    assert "OFFLINE=1" in choice.reason
    assert choose(machine(79.0, on_disk=frozenset({SD15})), settings(offline=True)).model == SD15


def test_a_download_needs_a_tenth_more_than_its_size_on_the_disk():
    size = shipped_registry()[TURBO].download_gb
    assert choose(machine(24.0, disk=1.11 * size), settings()).model == TURBO
    smaller = choose(machine(24.0, disk=1.09 * size), settings())
    assert smaller.model == SDXL
    assert f"MODEL={TURBO} would fit with {1.1 * size:.1f} GB free on the disk" in smaller.reason
    none = choose(machine(24.0, disk=1.0), settings())
    assert none.model == "demo"
    assert "has 1.0 GB free, less than 2.3 GB for sd-1.5" in none.reason


def test_a_download_that_was_broken_off_needs_only_its_rest():
    assert choose(machine(24.0, disk=5.0, stored={TURBO: 30.0}), settings()).model == TURBO
    assert choose(machine(24.0, disk=2.0, stored={TURBO: 30.0}), settings()).model != TURBO


@pytest.mark.parametrize(
    ("free", "chosen"),
    [
        (64.5, (QWEN, "full", False)),
        (64.3, (SDXL, "full", False)),
        (13.7, (SDXL, "full", False)),
        (13.5, (SDXL, "model-offload", False)),
        (8.6, (SD15, "full", False)),
        (5.5, ("demo", "auto", False)),
    ],
)
def test_controlnets_count_beside_every_model_and_only_one_that_takes_them_is_chosen(free, chosen):
    choice = choose(machine(free, controls=2.4), settings(controlnet="owner/one"))
    assert line(choice) == chosen
    assert f"{free} GiB free on the Some Card, 2.4 of them for CONTROLNET, and 64 GiB of RAM" in choice.reason
    assert TURBO not in choice.reason


@pytest.mark.parametrize(("names", "chosen"), [("a/one", QWEN), ("a/one,a/two", SDXL)])
def test_more_controlnets_than_a_model_takes_are_not_for_it(names, chosen):
    assert choose(machine(79.0), settings(controlnet=names)).model == chosen


@pytest.mark.parametrize(
    ("names", "free", "changes", "said"),
    [
        ("a/1,a/2,a/3,a/4", 79.0, {}, "no other model that it may choose takes this CONTROLNET"),
        ("a/1,a/2", 79.0, {"control_nets": {FOR_SDXL, FOR_SD15}}, "MODEL names another. Or leave CONTROLNET empty."),
        ("a/1", 8.0, {"controls": 2.4, "control_nets": {FOR_SDXL}}, "8.0 GiB free on the Some Card, 2.4 of them for"),
        ("a/1", 45.0, {"controls": 3.3, "control_nets": {FOR_QWEN}}, f"MODEL={QWEN} MEMORY=int8 fits, and is slower"),
        ("a/1", 79.0, {"disk": 2.0, "control_nets": {FOR_SDXL}}, "2.0 GB free, less than 7.6 GB for sd-xl-base"),
        ("a/1", 9.0, {"kind": "cpu", "control_nets": {FOR_SD15}}, "MODEL=sd-1.5 runs on it too, slowly"),
    ],
)
def test_where_the_demo_model_does_not_take_the_controlnets_either_it_is_said_and_nothing_is_chosen(
    names, free, changes, said
):
    with pytest.raises(ModelUnavailable) as refused:
        choose(machine(free, **changes), settings(controlnet=names))
    sentence = str(refused.value)
    assert sentence.startswith("MODEL=auto: ")
    assert said in sentence
    assert sentence.endswith("Or leave CONTROLNET empty.")


def test_the_demo_model_takes_its_own_controlnet():
    config = json.loads((PACKAGE_DIR / "demo_model" / "transformer" / "config.json").read_text())
    assert config["joint_attention_dim"] == TEXT_WIDTHS["demo"]


def test_a_controlnet_that_is_still_to_be_downloaded_needs_room_on_the_disk_and_is_named():
    wanted = settings(controlnet="owner/one")
    known = {"controls": 2.4, "controls_gb": 5.0, "control_nets": frozenset({FOR_SDXL})}
    assert (
        "6.9 GB, licence CreativeML OpenRAIL++-M, and 5.0 GB for CONTROLNET"
        in choose(machine(79.0, **known), wanted).reason
    )
    stored = choose(machine(79.0, on_disk=frozenset({SDXL}), **known), wanted)
    assert "(its files are on the disk, and 5.0 GB for CONTROLNET)" in stored.reason
    assert choose(machine(79.0, disk=13.1, **known), wanted).model == SDXL
    with pytest.raises(ModelUnavailable, match=r"13\.0 GB free, less than 13\.1 GB for sd-xl-base"):
        choose(machine(79.0, disk=13.0, **known), wanted)


@pytest.mark.parametrize(
    ("free", "memory", "changes", "said"),
    [
        (2.0, "auto", {}, "MODEL=sd-1.5 MEMORY=sequential-offload fits, and is slower"),
        (1.6, "auto", {}, "; free some memory."),
        (3.1, "auto", {"kind": "mps"}, "; free some memory."),
        (3.3, "int8", {"ram": 2, "on_disk": frozenset({SD15})}, "MODEL=sd-1.5 MEMORY=int8"),
        (61.0, "auto", {"control_nets": {FOR_QWEN}, "controlnet": "a/1"}, "model that takes this CONTROLNET"),
    ],
)
def test_what_the_reason_proposes_would_work(free, memory, changes, said):
    wanted = settings(memory=memory, controlnet=changes.pop("controlnet", ""))
    try:
        reason = choose(machine(free, **changes), wanted).reason
    except ModelUnavailable as refused:
        reason = str(refused)
    assert said in reason


@pytest.mark.parametrize(
    ("memory", "chosen"), [("encoder-offload", TURBO), ("float8", TURBO), ("nf4", TURBO), ("device-map", SDXL)]
)
def test_a_plan_outside_of_the_ladder_is_taken_only_where_it_fits(memory, chosen):
    assert choose(machine(14.0), settings(memory=memory)).model == chosen
    assert choose(machine(11.5), settings(memory=memory)).model == SDXL


def test_offline_a_better_model_is_named_with_the_network_that_it_needs():
    reason = choose(machine(79.0, on_disk=frozenset({TURBO})), settings(offline=True)).reason
    assert f"MODEL={QWEN} OFFLINE=0 would fit with 63.5 GB free on the disk." in reason
    stored = choose(machine(12.0, ram=12, has_torchao=False, on_disk=frozenset({TURBO, SDXL})), settings()).reason
    assert f"MODEL={TURBO} would fit with the package torchao." in stored
    cpu = choose(machine(64.0, kind="cpu"), settings(offline=True)).reason
    assert "MODEL=sd-1.5 OFFLINE=0 runs on it too" in cpu


@pytest.mark.parametrize(
    ("nets", "chosen"),
    [
        ({FOR_QWEN}, QWEN),
        ({FOR_SDXL}, SDXL),
        ({FOR_SD15}, SD15),
        ({NetKind("ControlNetModel", None)}, SDXL),
        ({FOR_DEMO}, "demo"),
    ],
)
def test_a_controlnet_on_the_disk_brings_the_model_that_it_was_made_for(nets, chosen):
    wanted = settings(controlnet=",".join(f"owner/{number}" for number, _ in enumerate(nets)))
    choice = choose(machine(79.0, control_nets=frozenset(nets)), wanted)
    assert choice.model == chosen
    assert ("no other model that it may choose takes this CONTROLNET" in choice.reason) is (chosen == "demo")


def test_of_a_model_from_another_source_the_width_of_texts_is_not_known(tmp_path):
    own = tmp_path / "models.toml"
    own.write_text('["sd-xl-base"]\nsource = "owner/other"\nfamily = "stable-diffusion-xl"\nlicence = "Free"\n')
    wanted = settings(models_file=own, controlnet="owner/one")
    assert choose(machine(79.0, control_nets=frozenset({FOR_SD15})), wanted).model == SDXL


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_beside_a_controlnet_of_the_demo_model_no_other_model_is_recommended(kind):
    for nets, found in ({FOR_DEMO}, None), ({FOR_SD15}, SD15):
        recommended = recommend(
            machine(79.0, kind=kind, control_nets=frozenset(nets)), settings(controlnet="silhouettes")
        )
        assert (recommended and recommended.name) == found


def test_controlnets_count_twice_in_float32_and_on_a_cpu_too():
    assert choose(machine(16.1, controls=2.4), settings(dtype="float32", controlnet="owner/one")).model == SD15
    assert choose(machine(17.5, controls=2.4), settings(dtype="float32", controlnet="owner/one")).model == SDXL
    cpu = settings(dtype="bfloat16", controlnet="owner/one")
    assert recommend(machine(5.5, ram=5.5, kind="cpu", controls=2.4), cpu) is None
    assert recommend(machine(5.7, ram=5.7, kind="cpu", controls=2.4), cpu).name == SD15


def test_the_reason_says_memory_download_licence_and_how_to_change_it():
    reason = choose(machine(23.0), settings()).reason
    for part in ("23.0 GiB free on the Some Card", "MODEL=z-image-turbo VAE_TILING=1", "32.9 GB", "Apache-2.0"):
        assert part in reason
    assert "Setting MODEL changes the choice" in reason


@pytest.mark.parametrize(("free", "memory"), [(31.5, "int8-offload"), (50.0, "int8")])
def test_beside_z_image_the_reason_names_the_line_for_qwen_image(free, memory):
    assert f"MODEL={QWEN} MEMORY={memory}" in choose(machine(free), settings()).reason


def test_a_large_card_that_gets_the_demo_model_is_told_why():
    taken = choose(machine(2.0), settings())
    assert "2.0 GiB free on the Some Card" in taken.reason
    assert "knows simple shapes only" in taken.reason


def test_without_torchao_no_weights_of_8_bits_and_a_word_about_it():
    choice = choose(machine(12.0, ram=12, has_torchao=False), settings())
    assert choice.model == SDXL
    assert f"MODEL={TURBO} would fit" in choice.reason
    assert "the package torchao" in choice.reason


def test_the_settings_go_before_the_plan():
    assert line(choose(machine(14.0), settings(memory="int8"))) == (TURBO, "int8", True)
    assert line(choose(machine(14.0), settings(memory="full"))) == (SDXL, "full", False)
    assert line(choose(machine(14.0), settings(memory="group-offload"))) == (TURBO, "group-offload", False)
    assert line(choose(machine(22.0), settings(vae_tiling=False))) == (TURBO, "model-offload", False)
    assert line(choose(machine(79.0), settings(vae_tiling=True))) == (QWEN, "full", True)
    assert line(choose(machine(40.0), settings(dtype="float32"))) == (TURBO, "model-offload", False)
    assert choose(machine(79.0), settings(dtype="float16")).model == SDXL


def test_nothing_gated_and_nothing_without_commercial_use_is_ever_a_candidate(tmp_path):
    for ladder in LADDERS.values():
        for candidate in ladder:
            entry = shipped_registry()[candidate.model]
            assert entry.commercial
            assert not entry.gated
            assert entry.licence
            assert entry.download_gb
            assert entry.family
    own = tmp_path / "models.toml"
    own.write_text('["z-image-turbo"]\nsource = "owner/other"\ncommercial = false\n')
    assert choose(machine(24.0), settings(models_file=own)).model == SDXL


def test_the_names_are_known_without_a_file_that_has_them_and_the_owners_goes_first(tmp_path):
    own = tmp_path / "models.toml"
    own.write_text('["sd-1.5"]\nsource = "owner/other"\n')
    assert entry_of(TURBO, settings(models_file=own)) == shipped_registry()[TURBO]
    assert entry_of(SD15, settings(models_file=own)).source == "owner/other"
    assert entry_of("cogview4", settings(models_file=own)) is None
