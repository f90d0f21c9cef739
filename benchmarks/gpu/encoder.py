"""Qwen-Image's text encoder in full size with random weights: how long a new prompt holds up everybody's steps.

`--tiny` builds one of two layers on whatever device is there.
"""

import argparse
import time
from types import SimpleNamespace

import torch
import transformers

from benchmarks.gpu.figures import say
from imageserver.engine.pipelines.texts.unread_words import skip_unread_words

STAGE = "encoder"
# As in Qwen/Qwen-Image, text_encoder/config.json.
TEXT = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 128000,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]},
}
TINY = {
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 2112,
}
VISION = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true")
    text = TEXT | (TINY if parser.parse_args().tiny else {})
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.bfloat16)
    with device:
        config = transformers.Qwen2_5_VLConfig(
            text_config=text, vision_config=VISION | {"out_hidden_size": text["hidden_size"]}
        )
        encoder = transformers.Qwen2_5_VLForConditionalGeneration(config).eval()
    torch.set_default_dtype(torch.float32)
    skip_unread_words(SimpleNamespace(components={"text_encoder": encoder}))
    on_card = device.type == "cuda"
    for tokens in (64, 256, 1058):
        ids = torch.randint(10, 2000, (1, tokens), device=device)
        mask = torch.ones_like(ids)
        if on_card:
            torch.cuda.reset_peak_memory_stats()
        times, told = [], []
        for _ in range(4):
            if on_card:
                torch.cuda.synchronize()
            began = time.perf_counter()
            # As the pipeline calls it.
            encoder(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[-1]
            told.append(time.perf_counter() - began)
            if on_card:
                torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
        peak = (torch.cuda.max_memory_allocated() - torch.cuda.memory_allocated()) / 2**20 if on_card else 0.0
        say(
            STAGE,
            f"a prompt of {tokens} tokens",
            1000 * min(times),
            "ms",
            host_ms=round(1000 * min(told), 2),
            beside_weights_mib=round(peak),
        )


if __name__ == "__main__":
    main()
