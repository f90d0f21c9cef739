"""The engine with a trace: on a card its spans are the card's work."""

from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from benchmarks import traced_engine
from benchmarks.conditions import Conditions, Device


@pytest.mark.parametrize(("device", "waits"), [("cuda", 1), ("simulated", 0)])
def test_a_span_waits_for_the_card_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: Device, waits: int
) -> None:
    for name, value in Conditions(device, tmp_path, trace=tmp_path / "trace.jsonl").environment().items():
        monkeypatch.setenv(name, value)
    synchronize, trace_file, run_engine = Mock(), Mock(), Mock()
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    monkeypatch.setattr(traced_engine, "TraceFile", trace_file)
    monkeypatch.setattr(traced_engine, "prepare", Mock())
    monkeypatch.setattr(traced_engine, "run_engine", run_engine)
    traced_engine.main()
    trace_file.call_args.kwargs["wait"]()
    assert synchronize.call_count == waits
    assert [call.args[1:] for call in trace_file.return_value.record.call_args_list] == [
        ("decode", "decode"), ("forward", "encode"),
    ]  # fmt: skip
    run_engine.assert_called_once_with(trace_file.return_value.forward)
