"""Every parser of bytes that the server did not write itself, with what it may raise and where fuzzing begins.

A parser refuses in its own way, or returns what the server can work with; anything else that it raises is a fault.
"""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import Mock

from flask import Flask, request
from pydantic import BaseModel, ValidationError

from imageserver import lora_metadata
from imageserver.api.credentials import key_entries
from imageserver.api.dialects.automatic1111 import bodies as automatic1111
from imageserver.api.dialects.automatic1111.extras import bodies as extras
from imageserver.api.dialects.automatic1111.lora_tags import loras_in
from imageserver.api.dialects.chat import bodies as chat
from imageserver.api.dialects.cogview4_stream import CogView4Body
from imageserver.api.dialects.huggingface import HuggingFaceBody
from imageserver.api.dialects.mcp.json_rpc import RpcMessage
from imageserver.api.dialects.openai_images import bodies as openai_images
from imageserver.api.dialects.responses import bodies as responses
from imageserver.api.dialects.tasks.views import BatchBody
from imageserver.api.dialects.websocket import frames
from imageserver.api.inputs import bounded_json, generate_request
from imageserver.api.inputs.form_body import read_form
from imageserver.api.inputs.form_parser import FormRequest
from imageserver.api.inputs.images import image_bytes
from imageserver.api.inputs.validation import validated
from imageserver.api.server.loras import LoraBody
from imageserver.api.server.models import LoadBody
from imageserver.dispatch.streams import Peer
from imageserver.engine.lora_formats.refused import LoraRefused
from imageserver.engine.models.weight_files import completeness, gguf_header
from imageserver.errors import ServiceError
from imageserver.imaging import decoding
from imageserver.imaging.infotext import parse_infotext
from imageserver.imaging.metadata import read_metadata
from imageserver.lora_folder import LoraFolder
from imageserver.registry import RegistryUnusable, read_registry
from imageserver.settings import Settings
from imageserver.settings.env_file import EnvFileUnusable, encoding_of, unknown_names
from tests.fuzzing import lora_tensors
from tests.fuzzing.seeds import SEEDS, WORDS

MAX_PIXELS = 10_000
APP = Flask(__name__)
APP.request_class = FormRequest


@dataclass(frozen=True)
class Parser:
    """`parse` raises only `refusals`; `words` are what its language is made of."""

    parse: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    refusals: tuple[type[Exception], ...]
    words: tuple[str, ...]

    def feed(self, data: bytes) -> None:
        with contextlib.suppress(*self.refusals):
            self.parse(data)


@cache
def settings() -> Settings:
    return Settings(_env_file=None)  # type: ignore[call-arg]


@cache
def folder() -> Path:
    """Return a folder for the parsers that read files; it is removed with the process."""
    kept.append(tempfile.TemporaryDirectory())
    return Path(kept[0].name)


kept: list[tempfile.TemporaryDirectory[str]] = []


def file_with(name: str, data: bytes) -> Path:
    file = folder() / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data)
    return file


DIALECTS: dict[str, Callable[[Any], object]] = {
    "generate": lambda content: generate_request.parse(content, settings()),
    "websocket": frames.checked,
    "openai": lambda content: openai_images.to_generate_fields(
        openai_images.checked(openai_images.GenerationsBody, content)
    ),
    "chat": lambda content: from_chat(chat.checked(content)),
    "responses": lambda content: (body := responses.checked(content)).wants_image and body.image_tool(),
    "edits": lambda content: openai_images.to_generate_fields(openai_images.checked(openai_images.EditsBody, content)),
    "txt2img": lambda content: from_automatic1111(automatic1111.Txt2ImgBody, content),
    "img2img": lambda content: from_automatic1111(automatic1111.Img2ImgBody, content),
    "cogview4": lambda content: validated(CogView4Body, content),
    "huggingface": lambda content: validated(HuggingFaceBody, content),
    "batch": lambda content: validated(BatchBody, content),
    "rpc": lambda content: validated(RpcMessage, content).needs_answer,
    "extra": lambda content: from_extras(extras.SingleImageBody, content),
    "extras": lambda content: from_extras(extras.BatchImagesBody, content),
    "loras": lambda content: validated(LoraBody, content),
    "load": lambda content: validated(LoadBody, content),
}
MODELS: tuple[type[BaseModel], ...] = (
    generate_request.GenerateBody, frames.WebSocketBody, openai_images.EditsBody, automatic1111.Img2ImgBody,
    CogView4Body, HuggingFaceBody, BatchBody, LoraBody, LoadBody, chat.ChatBody, responses.ResponsesBody, RpcMessage,
    extras.SingleImageBody, extras.BatchImagesBody,
)  # fmt: skip
FIELDS = tuple(dict.fromkeys(name for model in MODELS for name in model.model_fields))


def from_chat(body: chat.ChatBody) -> None:
    chat.to_generate_fields(body, "x")
    json.dumps(chat.warnings_of(body))
    body.conversation()


def from_automatic1111(model: type[automatic1111.GeneratingBody], content: Any) -> None:
    body = automatic1111.checked(model, content, settings())
    automatic1111.to_generate_fields(body, automatic1111.output_format_of(body, "png"), "Euler")
    json.dumps(automatic1111.sent(body))
    json.dumps(automatic1111.warnings_of(body))
    loras_in(body.prompt, body.negative_prompt, ["night"])


def from_extras(model: type[extras.ExtrasBody], content: Any) -> None:
    body = validated(model, content)
    body.enlargement().size_of((64, 48))
    json.dumps(body.warnings())


def parse_json(data: bytes) -> None:
    """Give one body to every dialect: each refuses it for itself."""
    content = bounded_json.parse(data)
    json.dumps(content)
    if not isinstance(content, dict):
        return
    for parse in DIALECTS.values():
        with contextlib.suppress(ServiceError):
            parse(dict(content))


def parse_frame_of_a_client(data: bytes) -> None:
    frames.checked(frames.read(data))


def parse_form(data: bytes) -> None:
    """The first line is the Content-Type, and the rest the body."""
    content_type, _, body = data.partition(b"\n")
    # No server lets a line end into a header.
    header = content_type.decode("latin-1").replace("\r", " ")
    options: dict[str, Any] = {"data": body, "content_type": header}
    with APP.test_request_context(method="POST", **options):
        for model in (generate_request.GenerateBody, openai_images.EditsBody):
            with contextlib.suppress(ServiceError):
                validated(model, read_form(model))
        for file in request.files.values():
            image_bytes.read_upload(file, settings(), name="image")


def parse_data_url(data: bytes) -> None:
    image_bytes.decode(data.decode(errors="replace"), settings(), name="image")


def parse_image(data: bytes) -> None:
    size = decoding.read_size(data, name="image", max_pixels=MAX_PIXELS)
    pixels = decoding.read_image(data, name="image", max_pixels=MAX_PIXELS)
    if {pixels.width, pixels.height} != set(size) or len(pixels.data) != 3 * size[0] * size[1]:
        raise AssertionError(f"The header says {size}, and the image is {pixels.width}x{pixels.height}.")
    decoding.read_mask(data, name="mask", max_pixels=MAX_PIXELS, transparent_means_edit=True)


def parse_metadata(data: bytes) -> None:
    for text in read_metadata(data).values():
        json.dumps(parse_infotext(text))


def parse_safetensors(data: bytes) -> None:
    """What lies on the disk is judged, never trusted."""
    file = file_with("model/diffusion_pytorch_model.safetensors", data)
    file_with("model/config.json", b"{}")
    completeness.faults(folder() / "model")
    lora_metadata.read_metadata(file)


def parse_lora(data: bytes) -> None:
    lora_tensors.read(file_with("lora.safetensors", data))


def parse_index(data: bytes) -> None:
    file_with("sharded/diffusion_pytorch_model.safetensors.index.json", data)
    file_with("sharded/config.json", b"{}")
    completeness.faults(folder() / "sharded")


def parse_gguf(data: bytes) -> None:
    gguf_header.complaint(file_with("model.gguf", data))


def parse_lora_profile(data: bytes) -> None:
    file_with("loras/mine.safetensors", b"")
    file_with("loras/mine.json", data)
    LoraFolder(folder() / "loras").find("mine")


def parse_frame(data: bytes) -> None:
    async def receive() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        await Peer(reader, Mock()).receive()

    asyncio.run(receive())


def parse_dotenv(data: bytes) -> None:
    file = file_with(".env", data)
    Settings(_env_file=file, _env_file_encoding=encoding_of(file))  # type: ignore[call-arg]
    unknown_names(file, {"PORT", "HOST"})


def parse_keys(data: bytes) -> None:
    key_entries.read_entries(settings().model_copy(update={"api_keys_file": file_with("keys", data)}))


def parse_models(data: bytes) -> None:
    read_registry(file_with("models.toml", data))


def _parser(name: str, parse: Callable[[bytes], object], *refusals: type[Exception]) -> Parser:
    words = FIELDS if name in ("json", "form", "websocket") else WORDS.get(name, ("a",))
    return Parser(parse, SEEDS[name], refusals or (ServiceError,), words)


PARSERS = {
    "json": _parser("json", parse_json),
    "websocket": _parser("websocket", parse_frame_of_a_client),
    "form": _parser("form", parse_form),
    "data_url": _parser("data_url", parse_data_url),
    "image": _parser("image", parse_image),
    "metadata": _parser("metadata", parse_metadata),
    "safetensors": _parser("safetensors", parse_safetensors),
    "lora": Parser(parse_lora, lora_tensors.SEEDS, (LoraRefused,), lora_tensors.WORDS),
    "index": _parser("index", parse_index),
    "gguf": _parser("gguf", parse_gguf),
    "lora_profile": _parser("lora_profile", parse_lora_profile),
    "frame": _parser("frame", parse_frame, EOFError),
    "dotenv": _parser("dotenv", parse_dotenv, ValidationError, EnvFileUnusable),
    "api_keys": _parser("api_keys", parse_keys, key_entries.UnusableEntry),
    "models": _parser("models", parse_models, RegistryUnusable),
}
