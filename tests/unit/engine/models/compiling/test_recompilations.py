"""What COMPILE=1 compiles or refuses after the start is counted, and a refusal is said once."""

from collections.abc import Iterator

import pytest
import torch
from torch._dynamo import config as dynamo

from imageserver.engine.models.compiling import rehearsal
from imageserver.engine.models.compiling.recompilations import Recompilations


@pytest.fixture
def rows() -> Iterator[torch.Tensor]:
    """A tensor for compiled code that may have two variants."""
    torch.compiler.reset()
    # pytest's own patch would delete the setting instead of putting it back.
    with dynamo.patch(recompile_limit=2):
        yield torch.ones(8, 8)
    torch.compiler.reset()


def variants() -> "torch._dynamo.eval_frame.OptimizedModule":
    return torch.compile(lambda rows: rows * 2, backend="eager", dynamic=False)


def test_a_piece_of_code_that_has_reached_the_limit_counts_once_and_is_logged_once(rows, caplog):
    recompilations, doubled = Recompilations(lambda: 0), variants()
    counts = []
    for size in range(1, 6):
        assert torch.equal(doubled(rows[:size]), 2 * rows[:size])
        counts.append(recompilations.count())
    assert counts == [1, 2, 3, 3, 3]
    assert caplog.text.count("computed eagerly") == 1


def test_what_is_compiled_before_a_model_serves_is_left_out_but_not_what_is_refused(rows):
    doubled = variants()
    recompilations = Recompilations(lambda: 0)
    with recompilations.expected():
        for size in (1, 2):
            doubled(rows[:size])
    assert recompilations.count() == 0
    with recompilations.expected():
        doubled(rows[:3])
    assert recompilations.count() == 1
    assert Recompilations(lambda: 0).count() == 0, "that of the engine before"


def test_what_a_rehearsal_has_compiled_before_it_failed_is_counted_as_that_of_a_lora(monkeypatch):
    graphs, counted = iter((3, 5)), []
    monkeypatch.setattr(rehearsal, "compiled_graphs", lambda: next(graphs))

    def fail(**_):
        raise RuntimeError("no compiler")

    with pytest.raises(RuntimeError, match="no compiler"):
        rehearsal.Rehearsal(fail, ({}, {}), None, lambda *_: None, counted.append)()
    assert counted == [2]
