"""The parameters of a generation inside its image, as AUTOMATIC1111's infotext and as JSON."""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from PIL import Image

from imageserver.errors import InvalidParameter
from imageserver.generation import OutputFormat
from imageserver.imaging.exif import exif_block, read_exif
from imageserver.imaging.headers import UnreadableImage, read_header, textual_png
from imageserver.imaging.provenance.xmp import PNG_KEYWORD

UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
# A JPEG segment holds 65,533 bytes, six of them the EXIF signature.
MAX_EXIF_BYTES = 65_500
# A workflow of ComfyUI has some hundred thousand.
MAX_TEXT_CHARACTERS = 4_000_000
# In `extra`: what the client wrote, where a language model has made it better.
RAW_PROMPT = "Raw prompt"


@dataclass(frozen=True, kw_only=True)
class ImageMetadata:
    """How one image was generated; sizes in pixels, `extra` holds further named values.

    `request` is the body of `POST /generate` that makes it again, with the prompt as it was written; `inputs` names the
    images that were sent with it. The infotext leaves both out.
    """

    prompt: str
    negative_prompt: str
    steps: int
    sampler: str
    cfg_scale: float
    seed: int
    width: int
    height: int
    model: str
    version: str
    model_hash: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()

    def parameters_text(self) -> str:
        """Return the infotext: prompt, negative prompt if there is one, and the settings in one line.

        Source: `create_infotext` of AUTOMATIC1111's stable-diffusion-webui. NUL and lone surrogates, which no text
        format can hold, become U+FFFD here; the JSON keeps them.
        """
        settings = {
            "Steps": self.steps,
            "Sampler": self.sampler,
            "CFG scale": _plain_number(self.cfg_scale),
            "Seed": self.seed,
            "Size": f"{self.width}x{self.height}",
            "Model hash": self.model_hash,
            "Model": self.model,
            **self.extra,
            "Version": self.version,
        }
        lines = [self.prompt]
        if self.negative_prompt.strip():
            lines.append(f"Negative prompt: {self.negative_prompt}")
        lines.append(", ".join(f"{name}: {_quoted(value)}" for name, value in settings.items() if value is not None))
        return UNSTORABLE.sub("\ufffd", "\n".join(lines))

    def as_json(self) -> str:
        """Return every field as one line of ASCII JSON, which preserves any text exactly."""
        return json.dumps({**asdict(replace(self, extra={})), "extra": dict(self.extra)}, default=str)

    def texts(self, output_format: OutputFormat) -> dict[str, str]:
        """Return the infotext as `parameters` and the JSON as `generation`, as far as the format has room for them.

        EXIF, which JPEG and WebP have, may lose the request and the raw prompt, then the ends of the prompts, and at
        last everything.
        """
        whole = {"parameters": self.parameters_text(), "generation": self.as_json()}
        if output_format == "png" or len(exif_block(**whole)) <= MAX_EXIF_BYTES:
            return whole
        for max_chars in (None, 3000, 500):
            shortened = replace(
                self,
                prompt=_cut(self.prompt, max_chars),
                negative_prompt=_cut(self.negative_prompt, max_chars),
                # One with half a prompt would make another image.
                request={},
                extra={name: value for name, value in self.extra.items() if name != RAW_PROMPT},
            )
            texts = {"parameters": shortened.parameters_text(), "generation": shortened.as_json()}
            if len(exif_block(**texts)) <= MAX_EXIF_BYTES:
                return texts
        return {}


def read_metadata(data: bytes) -> dict[str, str]:
    """Return the texts inside a PNG, JPEG or WebP image without decoding its pixels.

    The infotext is `parameters`, our JSON is `generation`; a PNG's other texts keep their keywords. Raises
    InvalidParameter for anything else.
    """
    try:
        # Pillow walks over chunks and segments in Python: 19 MB of empty ones took 4 s.
        data = textual_png(data) if read_header(data).format == "PNG" else data
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
            found = read_exif(image.getexif())
            texts = image.info.items()
            found |= {name: str(text) for name, text in texts if isinstance(name, str) and isinstance(text, str)}
            # XML for programs; Pillow gives it for PNG only.
            found.pop(PNG_KEYWORD, None)
    except UnreadableImage as error:
        sentence = f"The data is not a readable PNG, JPEG or WebP image: it {error}"
        raise InvalidParameter(sentence, param="image") from error
    # Pillow raises whatever the broken bytes lead to: OSError, SyntaxError, struct.error, DecompressionBombError, ...
    except Exception as error:
        raise InvalidParameter("The data is not a readable PNG, JPEG or WebP image.", param="image") from error
    if sum(map(len, found.values())) > MAX_TEXT_CHARACTERS:
        sentence = f"The image contains texts of more than {MAX_TEXT_CHARACTERS} characters, which is the limit."
        raise InvalidParameter(sentence, param="image")
    return found


def _plain_number(value: float) -> int | float:
    return int(value) if float(value).is_integer() else value


def _quoted(value: object) -> str:
    """Return a value for the infotext's line of settings; one that would break the line is quoted as JSON."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text


def _cut(text: str, max_chars: int | None) -> str:
    return text if max_chars is None or len(text) <= max_chars else text[: max_chars - 1] + "…"
