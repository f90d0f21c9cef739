"""The part of an engine's configuration that leaves this machine: what an engine reads, and no key or secret."""

import json
from dataclasses import asdict

from imageserver.protocol.channel import Address
from imageserver.protocol.engine_config import EngineConfig
from imageserver.protocol.initial_model import InitialModel
from imageserver.settings import Settings

# What the engine reads, without its device and the folder of its measurements, which are the far machine's own.
ENGINE_SETTINGS = frozenset({
    "attention_backend", "compile", "controlnet", "cuda_graphs", "default_guidance_scale", "default_height",
    "default_scheduler", "default_steps", "default_width", "dtype", "hf_endpoint", "log_format", "log_level",
    "log_prompts", "max_batch", "max_in_flight", "max_loaded_models", "max_pixels", "max_prompt_chars", "memory",
    "model", "model_source", "offline", "quality_cache", "safety_checker", "text_encoder_path", "transformer_file",
    "use_karras_sigmas", "vae_tiling",
})  # fmt: skip
# Paths on the far machine: sent where this machine's user has set them, else that machine's `.env` may.
FOLDERS = frozenset({"lora_dir", "models_dir", "models_file"})


def write_travelling_config(config: EngineConfig, machine: str, configured: InitialModel | None = None) -> bytes:
    """Return what the engine on a machine is told, as JSON.

    `configured` is what the settings have meant there. How a model was fitted on another machine does not hold for it.
    """
    # Not model_fields_set: on its way here every setting was read from JSON, and counts as set.
    changed = {name for name in FOLDERS if getattr(config.settings, name) != Settings.model_fields[name].default}
    names = ENGINE_SETTINGS | changed
    default = config.default_model
    content = {
        "settings": config.settings.model_dump(mode="json", include=set(names)),
        "default_model": asdict(default.fitted_on(machine)) if default else None,
        "configured_model": asdict(configured) if configured else None,
    }
    return json.dumps(content).encode()


def read_travelling_config(content: bytes, device: str, address: Address) -> EngineConfig:
    """Return the configuration of an engine on this machine; what did not travel are this machine's own settings."""
    received = json.loads(content)
    settings = Settings.model_validate(received["settings"] | {"device": device})
    default, configured = (
        InitialModel(**received[name]) if received[name] else None for name in ("default_model", "configured_model")
    )
    return EngineConfig(settings, address, default, configured)
