"""What fuzzing begins with: for every parser, small inputs that reach most of it, and a few that once broke it."""

import json
import struct
import zlib

from imageserver.imaging.exif import exif_block
from imageserver.protocol.framing import LENGTHS, pack
from imageserver.protocol.messages import Cancel, Hello
from imageserver.settings import PACKAGE_DIR
from tests.support.images import chunk, colours, file_of, png_with

# Deeper than Python's own parsers follow.
DEEP = b"[" * 3000 + b"]" * 3000
DEEP_MESSAGE = b"\x82\xa4type\xa6Cancel\xa1x" + b"\x91" * 3000 + b"\x90"
BODY = {
    "prompt": "a cat <lora:night:0.5>", "n": 2, "seed": -1, "size": "512x512", "width": 64, "steps": 4, "cfg_scale": 7,
    "loras": [{"name": "night", "scale": 0.8}], "override_settings": {"sd_model_checkpoint": "demo"},
    "alwayson_scripts": {"controlnet": {"args": [{"image": "AA==", "weight": 1}]}}, "init_images": ["AA=="],
    "inputs": "a cat", "parameters": {"guidance_scale": 3.5, "target_size": {"width": 64, "height": 64}},
    "requests": [{"prompt": "a dog"}], "images": [{"image_url": "data:image/png;base64,AA=="}],
}  # fmt: skip
INFOTEXT = b'a cat\nNegative prompt: dog\nSteps: 4, Sampler: Euler, Size: 64x64, Note: "a, b"'
# The first line of a form is its Content-Type.
MULTIPART = b"multipart/form-data; boundary=b\n--b\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n--b--\r\n"
URLENCODED = b"application/x-www-form-urlencoded\nprompt=a%20cat&n=2&loras[][name]=a&loras[][scale]=0.5"
TENSOR = b'{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'


def safetensors(header: bytes, rest: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + rest


def text(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


GGUF = b"".join([
    b"GGUF" + struct.pack("<IQQ", 3, 1, 2), text(b"general.alignment") + struct.pack("<II", 4, 32),
    text(b"texts") + struct.pack("<IIQ", 9, 8, 2) + text(b"a") + text(b"b"),
    text(b"w") + struct.pack("<IQIQ", 1, 4, 0, 0),
]).ljust(256, b"\0")  # fmt: skip
SEEDS: dict[str, tuple[bytes, ...]] = {
    "json": (json.dumps(BODY).encode(), '{"prompt": "é"}'.encode("utf-16"), DEEP),
    "websocket": (b'{"type": "generate", "prompt": "a", "previews": 3}',),
    "form": (
        MULTIPART % (b'name="prompt"', b"a cat"),
        MULTIPART % (b'name="image"; filename="a.png"', b"\x89PNG"),
        URLENCODED,
    ),
    "data_url": (b"data:image/png;base64,iVBORw0KGgo=", b"iVBO%2BRw0", b"-_-_ \n"),
    "image": (
        *(file_of(colours(), kind) for kind in ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP")),
        file_of(colours().convert("RGBA"), "AVIF"),
        *(file_of(colours().convert(mode), "PNG") for mode in ("L", "P", "RGBA", "1", "I;16")),
    ),
    "metadata": (
        png_with(colours(), chunk(b"tEXt", b"parameters\0" + INFOTEXT), chunk(b"iTXt", b"a\0\0\0\0\0b")),
        png_with(colours(), chunk(b"zTXt", b"parameters\0\0" + zlib.compress(INFOTEXT))),
        file_of(colours(), "JPEG", exif=exif_block(parameters=INFOTEXT.decode(), generation="{}")),
        file_of(colours(), "WEBP", exif=exif_block(parameters="a cat", generation="{}")),
    ),
    "safetensors": (
        safetensors(b'{"w":%s}' % TENSOR, bytes(8)),
        safetensors(b'{"__metadata__":{"format":"pt"}}'),
        safetensors(b'{"__metadata__":{"ss_tag_frequency":"{\\"a\\":{\\"b\\":1}}","modelspec.thumbnail":"data:"}}'),
        safetensors(b'{"w":%s}' % DEEP),
        safetensors(b'{"w":{"shape":[],"data_offsets":[0,"1"]},"v":{"shape":[],"data_offsets":[0,1]}}'),
        safetensors(b"[]"),
    ),
    "index": (b'{"weight_map": {"w": "a-00001-of-00002.safetensors"}}', b'{"weight_map": %s}' % DEEP),
    "gguf": (GGUF,),
    "lora_profile": (
        b'{"num_inference_steps": 4, "true_cfg_scale": 1.0, "scheduler": {"shift": 1}, "description": ""}',
        b'{"scheduler": {"a": %s}}' % DEEP,
    ),
    "frame": (
        pack(Cancel(job=1), 3) + b"abc",
        pack(Hello(role="engine", key="k", pid=1)),
        LENGTHS.pack(1, 0) + b"\x80",
        LENGTHS.pack(len(DEEP_MESSAGE), 0) + DEEP_MESSAGE,
    ),
    "dotenv": (
        b"HOST=127.0.0.1\nexport PORT=\"5000\" # port\nAPI_KEYS='a:b'\n",
        "MODEL=demo".encode("utf-16"),
        b"\x81",
    ),
    "api_keys": (
        b"# friends\nann:0123456789abcdef\nbob:0123456789abcdeF role=user rpm=60 device_seconds_per_day=3600\n",
        b"\xef\xbb\xbf0123456789abcdef",
    ),
    "models": (
        (PACKAGE_DIR / "models.toml").read_bytes()[:1500],
        b'[mine]\nsource = "a/b"\nsize = "64x64"\nloras = { n = 1 }\n',
        b"a = " + DEEP,
    ),
}
WORDS: dict[str, tuple[str, ...]] = {
    "image": ("IHDR", "PLTE", "tRNS", "IDAT", "eXIf", "IEND", "VP8X", "VP8L", "VP8 ", "GIF89a"),
    "metadata": ("tEXt", "zTXt", "iTXt", "eXIf", "parameters", "Negative prompt:"),
    "safetensors": ("data_offsets", "shape", "dtype", "__metadata__", "ss_tag_frequency", "modelspec.trigger_phrase"),
    "index": ("weight_map",),
    "gguf": ("GGUF", "general.alignment"),
    "dotenv": ("HOST=", "PORT=", "MODEL=", "STATE_DIR=", "PUBLIC_URL=", "WEBHOOK_HOSTS=", "ALLOWED_ORIGINS="),
    "api_keys": (":", "role=admin", "role=user", "rpm=", "device_seconds_per_hour="),
    "models": ("source", "hub", "revision", "loras", "size", "memory"),
}
