"""LoRAs are fetched from a hub where MODEL_LOADING=any lets clients do that, and only those that are missing."""

from types import SimpleNamespace
from typing import Any

import pytest

from imageserver.api.generation.lora_fetch import fetch_missing
from imageserver.errors import InvalidParameter
from imageserver.lora_folder import LoraFolder


@pytest.mark.parametrize(
    ("model_loading", "asked"), [("off", []), ("named", []), ("any", ["anna/styles", "anna/styles:b.safetensors"])]
)
def test_only_missing_ids_are_fetched_where_clients_may_load_anything(tmp_path, model_loading, asked):
    (tmp_path / "anna" / "more").mkdir(parents=True)
    (tmp_path / "anna" / "more" / "a.safetensors").write_bytes(b"a")
    sent: list[Any] = []

    def fetch(request: Any) -> None:
        sent.append(request)
        repository, _, file = request.fetch.partition(":")
        (tmp_path / repository).mkdir(parents=True, exist_ok=True)
        (tmp_path / repository / (file or "a.safetensors")).write_bytes(b"a")

    service: Any = SimpleNamespace(
        settings=SimpleNamespace(model_loading=model_loading), loras=LoraFolder(tmp_path),
        request_ids=SimpleNamespace(next_id=lambda: len(sent) + 1), client=SimpleNamespace(loras=fetch),
    )  # fmt: skip
    names = ["night", "../etc", "/etc/passwd", "a/b/c", "anna/more", "anna/more:a", "anna/more/a", "a:b", "C:\\x/y"]
    fetch_missing(service, [*names, "anna/styles", "anna/styles:b.safetensors"])
    assert [request.fetch for request in sent] == asked
    assert len({request.job for request in sent}) == len(sent)


def test_one_of_a_repository_that_is_here_is_said_to_be_missing_by_whoever_looks_it_up(tmp_path):
    (tmp_path / "anna" / "styles").mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / "anna" / "styles" / f"{name}.safetensors").write_bytes(b"a")
    sent: list[Any] = []
    service: Any = SimpleNamespace(
        settings=SimpleNamespace(model_loading="any"), loras=LoraFolder(tmp_path),
        request_ids=SimpleNamespace(next_id=lambda: 1), client=SimpleNamespace(loras=sent.append),
    )  # fmt: skip
    fetch_missing(service, ["anna/styles"])
    assert [request.fetch for request in sent] == ["anna/styles"]
    with pytest.raises(InvalidParameter, match="there are: anna/styles/a, anna/styles/b"):
        service.loras.find("anna/styles")


def test_what_only_another_machine_has_is_refused_with_what_to_do(tmp_path):
    service: Any = SimpleNamespace(
        settings=SimpleNamespace(model_loading="any"), loras=LoraFolder(tmp_path),
        request_ids=SimpleNamespace(next_id=lambda: 1), client=SimpleNamespace(loras=lambda request: None),
    )  # fmt: skip
    with pytest.raises(InvalidParameter, match="need a LORA_DIR that all machines share"):
        fetch_missing(service, ["anna/styles"])
