"""What the gallery keeps of a generation whose images were saved."""

import logging

from imageserver.api.generation.run import GenerationResult
from imageserver.api.services import Services
from imageserver.errors import StorageFull
from imageserver.imaging.provenance.request_fields import request_fields, sent_images
from imageserver.outputs.gallery.item import GalleryItem

logger = logging.getLogger(__name__)


def record(service: Services, result: GenerationResult, names: list[str]) -> None:
    """Add saved images to the gallery; where the state database cannot be written, they are saved all the same."""
    if service.gallery is None:
        return
    try:
        service.gallery.add([item_of(result, name, index) for index, name in enumerate(names)])
    except StorageFull as error:
        logger.warning("Saved images are not in the gallery: %s", error.sentence)


def item_of(result: GenerationResult, name: str, index: int) -> GalleryItem:
    """Return the item of the image at an index."""
    request, outcome = result.request, result.outcome
    options = request.output_options
    settings = request_fields(
        result.generation,
        result.info,
        seed=outcome.seeds[index],
        output_format=options.output_format,
        compression=options.compression,
        overlay=options.aspect_ratio_name is not None,
    )
    return GalleryItem(
        name=name,
        credential=request.credential,
        width=outcome.width,
        height=outcome.height,
        model=result.info.name if result.info else "",
        settings=settings,
        inputs=sent_images(request.generation),
    )
