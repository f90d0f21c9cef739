"""One file per model family: the arguments of its pipeline call and how its denoiser calls merge.

Process: engine. May import `devices`, `pipelines` and below. A new family is a subclass of `Family` in a file of its
own, a line in `FAMILIES`, a tiny model in its test and a row in docs/models.md.
"""

from imageserver.engine.families.cogview4 import CogView4
from imageserver.engine.families.ernie_image import ErnieImage
from imageserver.engine.families.family import Family
from imageserver.engine.families.flux import Flux
from imageserver.engine.families.flux2_klein import Flux2Klein
from imageserver.engine.families.hidream_image import HiDreamImage
from imageserver.engine.families.qwen_image import QwenImage
from imageserver.engine.families.qwen_image_21 import QwenImage21
from imageserver.engine.families.qwen_image_edit import QwenImageEdit, QwenImageEditPlus
from imageserver.engine.families.qwen_image_layered import QwenImageLayered
from imageserver.engine.families.stable_diffusion import StableDiffusion
from imageserver.engine.families.stable_diffusion_xl import StableDiffusionXL
from imageserver.engine.families.z_image import ZImage

FAMILIES: tuple[Family, ...] = (
    QwenImage(),
    QwenImageEdit(),
    QwenImageEditPlus(),
    QwenImage21(),
    QwenImageLayered(),
    StableDiffusion(),
    StableDiffusionXL(),
    CogView4(),
    HiDreamImage(),
    Flux(),
    Flux2Klein(),
    ZImage(),
    ErnieImage(),
)


def published_class(family: Family) -> str:
    """Return the pipeline class that the family's models are published as: the first it names."""
    return next(iter(family.pipeline_classes.values()))


def family_of(pipeline_class: str) -> Family | None:
    """Return the family that serves a pipeline class of diffusers, by its name in `model_index.json`."""
    return next((family for family in FAMILIES if published_class(family) == pipeline_class), None)
