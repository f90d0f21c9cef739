"""Requests, answers, events and errors are held against every field of the openai packages' own types."""

import json
import shutil
from typing import Any, get_args, get_type_hints

import pytest
import requests
from openai.types import (
    Image,
    ImageCreateVariationParams,
    ImageEditCompletedEvent,
    ImageEditPartialImageEvent,
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
    ImageModel,
    ImagesResponse,
    Model,
    image_edit_params,
    image_generate_params,
)
from openai.types.shared import ErrorObject

from imageserver.api.dialects.openai_images.bodies import (
    EditsBody,
    GenerationsBody,
    VariationsBody,
    checked,
    warnings_of,
)
from imageserver.api.dialects.openai_images.model_names import OPENAI_NAMES
from imageserver.errors import InvalidParameter
from tests.support.images import one_colour
from tests.support.paths import ROOT
from tests.support.typescript import Declarations

NODE_TYPES = ROOT / "examples" / "node" / "node_modules" / "openai" / "resources"
REQUESTS = [
    (GenerationsBody, image_generate_params.ImageGenerateParamsStreaming),
    (EditsBody, image_edit_params.ImageEditParamsStreaming),
    (VariationsBody, ImageCreateVariationParams),
]
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
BODIES = pytest.mark.parametrize(("body", "params"), REQUESTS, ids=lambda each: each.__name__)
# Of OpenAI's own services and models: named in a warning.
NOT_OURS = {"complexity", "frame_count", "frame_duration_ms", "svg", "markup"}
REFUSED = {("output_format", "gif"), ("output_format", "svg")}
# What this server has nothing to say in.
NOT_SENT: dict[type, set[str]] = {
    ImagesResponse: {"safety_identifier", "svg_usage"},
    Image: {"revised_prompt"},
    ImageGenCompletedEvent: {"safety_identifier"},
    ImageEditCompletedEvent: {"safety_identifier"},
    Model: {"shutdown_date"},
    ErrorObject: {"misalignment"},
}


def literals(hint: Any) -> list[Any]:
    """Return the values that a type lists, at whatever depth."""
    parts = get_args(hint)
    return [each for part in parts for each in (literals(part) if get_args(part) else [part])] if parts else []


@BODIES
def test_every_documented_parameter_is_known_or_named_in_a_warning(body, params):
    documented = get_type_hints(params).keys()
    assert documented - body.model_fields.keys() <= NOT_OURS
    for name in documented & NOT_OURS:
        assert warnings_of(checked(body, {"prompt": "x", name: 2}), set()) == [
            f"'{name}' is not a parameter and was ignored."
        ]


@BODIES
def test_every_documented_value_is_accepted_or_refused_by_name(body, params):
    tried = 0
    for name, hint in get_type_hints(params).items():
        for value in (each for each in literals(hint) if isinstance(each, str | bool)):
            tried += 1
            if (name, value) in REFUSED:
                with pytest.raises(InvalidParameter, match=name):
                    checked(body, {"prompt": "x", name: value})
            else:
                checked(body, {"prompt": "x", name: value})
    assert tried > 15


def test_every_name_of_a_model_is_listed():
    assert set(OPENAI_NAMES) == set(get_args(ImageModel))


@pytest.fixture(scope="module")
def answers(fake_server) -> dict[type, dict[str, Any]]:
    """Return an example of every type, as it is sent."""
    fields = {"prompt": "every field", "size": "64x64"}
    streamed = fields | {"stream": True, "partial_images": 1}
    files = {"image": ("a.png", one_colour())}

    def post(path: str, **options: Any) -> requests.Response:
        return fake_server.ask("POST", path, timeout=20, **options)

    generated, edited = (
        [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        for answer in (
            post("/v1/images/generations", json=streamed),
            post("/v1/images/edits", data=streamed | {"stream": "true"}, files=files),
        )
    )
    answer = post("/v1/images/generations", json=fields).json()
    return {
        ImagesResponse: answer,
        Image: answer["data"][0],
        ImageGenPartialImageEvent: generated[0],
        ImageGenCompletedEvent: generated[-1],
        ImageEditPartialImageEvent: edited[0],
        ImageEditCompletedEvent: edited[-1],
        Model: fake_server.get("/v1/models/gpt-image-1").json(),
        ErrorObject: post("/v1/images/generations", json={}).json()["error"],
    }


KINDS = [
    ImagesResponse, Image, ImageGenPartialImageEvent, ImageGenCompletedEvent, ImageEditPartialImageEvent,
    ImageEditCompletedEvent, Model, ErrorObject,
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_of_pythons_types_is_sent_in_its_type(answers, kind):
    kind.model_validate_json(json.dumps(answers[kind]), strict=True)
    assert kind.model_fields.keys() - answers[kind].keys() == NOT_SENT.get(kind, set())


# Of Node's types, those that are in another file.
FILES = {Model: "models.d.ts", ErrorObject: "shared.d.ts"}


@needs_node
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_field_of_nodes_types_is_sent_in_its_type(answers, kind):
    assert NODE_TYPES.is_dir(), "run_tests.sh installs the SDK with npm"
    declared = Declarations(NODE_TYPES / FILES.get(kind, "images.d.ts"))
    assert declared.faults(answers[kind], kind.__name__) == []
    assert declared.interfaces[kind.__name__].keys() - answers[kind].keys() == NOT_SENT.get(kind, set())


@needs_node
def test_a_wrong_field_would_be_found(answers):
    declared = Declarations(NODE_TYPES / "images.d.ts")
    usage = answers[ImagesResponse]["usage"] | {"total_tokens": "100"}
    wrong = answers[ImagesResponse] | {"quality": "exact", "usage": usage}
    assert [fault.partition(":")[0] for fault in declared.faults(wrong, "ImagesResponse")] == [
        "ImagesResponse.quality",
        "ImagesResponse.usage",
    ]


@needs_node
@pytest.mark.parametrize(
    ("body", "name"),
    [
        (GenerationsBody, "ImageGenerateParamsBase"),
        (EditsBody, "ImageEditParamsBase"),
        (VariationsBody, "ImageCreateVariationParams"),
    ],
)
def test_every_parameter_of_nodes_types_is_known_or_named_in_a_warning(body, name):
    documented = Declarations(NODE_TYPES / "images.d.ts").interfaces[name].keys()
    assert len(documented) > 5
    assert documented - body.model_fields.keys() <= NOT_OURS
