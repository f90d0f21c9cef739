"""Our engine with a trace: `ENGINE_MODULE=benchmarks.traced_engine`; on a simulated or full-size device too."""

from benchmarks.conditions import Conditions, conditions_from_environment
from benchmarks.trace import TraceFile
from imageserver.engine.__main__ import main as run_engine


def main() -> None:
    """Prepare the device, then run the engine."""
    conditions = conditions_from_environment()
    prepare(conditions)
    if conditions.trace is None:
        run_engine()
        return
    import torch
    from diffusers import AutoencoderKLQwenImage
    from transformers import Qwen2_5_VLForConditionalGeneration

    trace = TraceFile(conditions.trace, wait=torch.cuda.synchronize if conditions.device == "cuda" else lambda: None)
    trace.record(AutoencoderKLQwenImage, "decode", "decode")
    trace.record(Qwen2_5_VLForConditionalGeneration, "forward", "encode")
    run_engine(trace.forward)


def prepare(conditions: Conditions) -> None:
    """Make this process generate on the device that the conditions name; call it before a pipeline is loaded."""
    if conditions.device == "simulated":
        from benchmarks.simulation import simulate

        simulate(conditions.model, conditions.time_scale)
    elif conditions.device == "cuda":
        from benchmarks.full_size import build, replace_loading

        replace_loading(lambda: build(conditions.model, "cuda"))


if __name__ == "__main__":
    main()
