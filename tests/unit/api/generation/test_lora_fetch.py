"""LoRAs are fetched from a hub where MODEL_LOADING=any lets clients do that, and only those that are missing."""

from types import SimpleNamespace
from typing import Any

import pytest

from imageserver.api.generation.lora_fetch import fetch_missing
from imageserver.lora_folder import LoraFolder


@pytest.mark.parametrize(
    ("model_loading", "asked"), [("off", []), ("named", []), ("any", ["anna/styles", "anna/styles:b.safetensors"])]
)
def test_only_missing_ids_are_fetched_where_clients_may_load_anything(tmp_path, model_loading, asked):
    (tmp_path / "anna" / "more").mkdir(parents=True)
    (tmp_path / "anna" / "more" / "a.safetensors").write_bytes(b"a")
    sent: list[Any] = []
    service: Any = SimpleNamespace(
        settings=SimpleNamespace(model_loading=model_loading), loras=LoraFolder(tmp_path),
        request_ids=SimpleNamespace(next_id=lambda: len(sent) + 1), client=SimpleNamespace(loras=sent.append),
    )  # fmt: skip
    names = ["night", "../etc", "/etc/passwd", "a/b/c", "anna/more", "anna/more:a", "anna/more/a", "a:b", "C:\\x/y"]
    fetch_missing(service, [*names, "anna/styles", "anna/styles:b.safetensors"])
    assert [request.fetch for request in sent] == asked
    assert len({request.job for request in sent}) == len(sent)
