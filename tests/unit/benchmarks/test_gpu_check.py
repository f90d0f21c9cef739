"""The figures of the GPU check become a table."""

import json

from benchmarks.report import GPU_MARKERS, fill, gpu_table


def test_figures_become_one_row_each_between_their_markers() -> None:
    line = json.dumps({"stage": "steps", "figure": "step | 512", "value": 0.1, "unit": "s", "at": 3.0, "bare": 0.2})
    table = gpu_table([line])
    assert table.splitlines()[2:] == ["| steps | step / 512 | 0.1 s | bare 0.2 |"]
    page = f"before\n{GPU_MARKERS[0]}\nold\n{GPU_MARKERS[1]}\nafter"
    assert fill(page, table, GPU_MARKERS) == f"before\n{GPU_MARKERS[0]}\n{table}\n{GPU_MARKERS[1]}\nafter"
