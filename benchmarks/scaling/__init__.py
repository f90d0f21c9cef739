"""How several engines share one queue: `python -m benchmarks.scaling`."""
