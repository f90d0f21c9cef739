"""Put the trained parts together into one stock diffusers folder of float16 safetensors."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import QwenImagePipeline

from tools.demo.autoencoder import FULL, make_autoencoder
from tools.demo.networks import Model, make_scheduler, make_text_encoder, make_transformer
from tools.demo.tokenizer import load_tokenizer
from tools.demo.train_transformer import LATENT_MEAN, LATENT_STD

SHARD = "4500KB"


def assemble(tokenizer_folder: Path, text: Path, transformer: Path, decoder: Path) -> Model:
    """Load the trained weights into the five stock classes."""
    tokenizer = load_tokenizer(tokenizer_folder)
    text_encoder = make_text_encoder(tokenizer)
    text_encoder.load_state_dict(torch.load(text))
    trained = torch.load(transformer)
    network = make_transformer(trained["plan"]["layers"], trained["plan"]["heads"])
    network.load_state_dict(trained["weights"])
    autoencoder = make_autoencoder(FULL, LATENT_MEAN, LATENT_STD)
    autoencoder.load_state_dict(torch.load(decoder))
    return QwenImagePipeline(make_scheduler(), autoencoder, text_encoder, tokenizer, network)


def export(pipeline: Model, folder: Path) -> float:
    """Write the pipeline into `folder`, keeping files that are not the pipeline's; returns its size in MiB."""
    for name in ("scheduler", "text_encoder", "tokenizer", "transformer", "vae"):
        shutil.rmtree(folder / name, ignore_errors=True)
    pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True, max_shard_size=SHARD)
    for path in folder.rglob("config.json"):
        settings = json.loads(path.read_text())
        settings.pop("_name_or_path", None)
        path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
