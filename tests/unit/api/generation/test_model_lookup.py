"""Which models requests may name."""

from types import SimpleNamespace

import pytest
from flask import Flask

from imageserver.api.generation import model_lookup
from imageserver.api.request_context import EXTENSION
from imageserver.dispatch.client.model_names import ModelNames
from imageserver.errors import Loading, ModelNotFound
from imageserver.generation import ModelInfo
from imageserver.registry import ModelEntry
from imageserver.settings import Settings
from imageserver.web_addresses import TrustedProxies

WAITER = model_lookup.WaitingRequest(1, "native", "x", 1.0)
FIRST = ModelInfo(name="first", family="fake", source="owner/first")
OTHER = ModelInfo(name="other", family="fake", source="owner/other")


class LoadingClient:
    """A client of a dispatcher whose first model is there as soon as somebody waits for it."""

    names = ModelNames("", ())

    def load_model(self, question, timeout):
        assert (question.load, question.prompt) == ("", "x")
        return SimpleNamespace(model=lambda: FIRST, cancel=lambda: None)


def service(tmp_path, *, loading=False, registry=(), models=(FIRST, OTHER), held=("first",), **settings):
    info = None if loading else models[0]
    chosen = Settings(_env_file=None, models_dir=tmp_path, **({"model": "first"} | settings))

    def loaded_info():
        if info is None:
            raise Loading("It is loading.")
        return info

    return SimpleNamespace(
        settings=chosen, default_info=info, client=LoadingClient(), loaded_info=loaded_info, registry=dict(registry),
        snapshot=SimpleNamespace(models=() if loading else models, loaded=held),
        info_of=lambda name: next((each for each in models if each.name == name), None) if name else info,
        proxies=TrustedProxies(""),
    )  # fmt: skip


def request_to(service):
    app = Flask(__name__)
    app.extensions[EXTENSION] = service
    return app.test_request_context()


@pytest.mark.parametrize("asked", [None, "", "auto"])
def test_no_name_means_the_usual_model(tmp_path, asked):
    assert model_lookup.wait_for_model(service(tmp_path), asked, WAITER)[0] is FIRST


@pytest.mark.parametrize(
    ("settings", "registry", "waits"),
    [
        ({"model": "auto"}, {}, False),
        ({"model": "Qwen/Qwen-Image"}, {}, False),
        ({"model": "named"}, {"named": ModelEntry(source="Qwen/Qwen-Image", family="qwen-image")}, False),
        ({"model": "named"}, {"named": ModelEntry(source="Qwen/Qwen-Image", steps=50)}, True),
        ({"model": "named"}, {"named": ModelEntry(source="demo", loras={"night": 1.0})}, True),
        ({"model": "demo", "default_guidance_scale": 3.0}, {}, True),
        ({"model": "stable-diffusion-v1-5/stable-diffusion-v1-5"}, {}, True),
    ],
)
def test_requests_wait_for_the_first_model_where_its_defaults_are_not_known(tmp_path, settings, registry, waits):
    waiting = service(tmp_path, loading=True, registry=registry, **settings)
    for asked in (None, "", "auto", settings["model"]):
        with request_to(waiting):
            assert model_lookup.wait_for_model(waiting, asked, WAITER)[0] is (FIRST if waits else None)


def test_a_name_means_its_own_model_also_where_the_source_of_another_is_shown_by_it(tmp_path):
    shown = ModelInfo(name="first", family="fake", source="dark")
    registry = {name: ModelEntry(source="owner/first") for name in ("first", "dark")}
    assert model_lookup.find_name(service(tmp_path, models=(shown,), registry=registry), "dark") == "dark"


@pytest.mark.parametrize("asked", ["other", "owner/other"])
def test_a_model_that_was_loaded_once_answers_to_its_name_and_its_source(tmp_path, asked):
    assert model_lookup.wait_for_model(service(tmp_path), asked, WAITER)[0] is OTHER


def test_an_unknown_name_is_refused_with_those_that_there_are(tmp_path):
    with pytest.raises(ModelNotFound, match="this server serves first, other, demo") as refusal:
        model_lookup.wait_for_model(service(tmp_path), "yours", WAITER)
    assert refusal.value.param == "model"


def test_while_the_first_model_loads_it_may_be_named_and_others_must_wait(tmp_path):
    waiting = service(
        tmp_path, loading=True, registry={"first": ModelEntry(source="owner/first"), "more": ModelEntry(source="x")}
    )
    for asked in ("first", "owner/first"):
        with request_to(waiting):
            assert model_lookup.wait_for_model(waiting, asked, WAITER)[0] is FIRST
    for asked in ("more", "yours"):
        with pytest.raises(Loading):
            model_lookup.wait_for_model(waiting, asked, WAITER)


@pytest.mark.parametrize(
    ("policy", "asked", "name"),
    [
        ("off", "other", "other"),  # it was loaded: the owner chose it
        ("off", "demo", None),
        ("off", "mine", None),
        ("named", "mine", "mine"),
        ("named", "owner/mine", "mine"),
        ("named", "demo", "demo"),
        ("named", "anybody/anything", None),
        ("named", "/etc", None),
        ("any", "anybody/anything", "anybody/anything"),
        ("any", "gpt-image-1", None),
    ],
)
def test_the_policy_says_what_may_be_loaded(tmp_path, policy, asked, name):
    known = service(tmp_path, registry={"mine": ModelEntry(source="owner/mine")}, model_loading=policy)
    assert model_lookup.find_name(known, asked) == name


def test_only_what_needs_no_download_is_listed_the_usual_model_first(tmp_path):
    for place in ("models--owner--hugging/snapshots", "owner/scope___1", "folder"):
        (tmp_path / place).mkdir(parents=True)
    registry = {
        "hugging": ModelEntry(source="owner/hugging"),
        "scope": ModelEntry(source="owner/scope.1"),
        "far": ModelEntry(source="owner/far"),
        "folder": ModelEntry(source=str(tmp_path / "folder"), family="flux"),
    }
    listed = model_lookup.listing(service(tmp_path, registry=registry))
    assert [one.name for one in listed] == ["first", "other", "hugging", "scope", "folder", "demo"]
    assert [one.name for one in listed if one.loaded] == ["first"]
    assert [one.family for one in listed] == ["fake", "fake", "", "", "flux", "qwen-image"]


def test_with_loading_off_only_what_was_loaded_is_listed(tmp_path):
    listed = model_lookup.listing(service(tmp_path, model_loading="off"))
    assert [one.name for one in listed] == ["first", "other"]


def test_a_model_that_several_names_mean_is_to_be_downloaded_once_and_not_after_it_was_loaded(tmp_path):
    names = {"hub/id": "owner/one", "short": "owner/one", "another": "owner/one", "hub/two": "owner/two"}
    names |= {"loaded by its id": OTHER.source}
    registry = {name: ModelEntry(source=source, download_gb=1.0) for name, source in names.items()}
    offered = model_lookup.downloadable(service(tmp_path, registry=registry))
    assert [name for name, _ in offered] == ["short", "hub/two"]
