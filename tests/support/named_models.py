"""A MODELS_FILE with a model that generates, one with broken weights and one that is nowhere."""

from pathlib import Path

from tests.support import tiny_models


def write_names(place: Path) -> Path:
    """Save the models in a folder, and return the file that names them."""
    tiny_models.tiny_stable_diffusion().save_pretrained(place / "sd")
    tiny_models.save_tiny_qwen_image(place / "broken")
    [weights] = (place / "broken" / "transformer").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:2000])
    file = place / "names.toml"
    file.write_text(
        f"[tiny-sd]\nsource = '{place / 'sd'}'\nsteps = 3\nsize = '128x64'\n"
        f"[broken]\nsource = '{place / 'broken'}'\n"
        "[far]\nsource = 'owner/far'\n"
    )
    return file
