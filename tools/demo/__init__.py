"""The recipe of the embedded demo model, one part per file; `tools/train_demo_model.py` runs them in order.

Nothing here is imported by the server. May import torch, diffusers, transformers, tokenizers, Pillow and
`imageserver.engine.pipelines.decoding.single_frame_vae`.
"""
