"""The document of the API is complete and true: what it allows is taken, what it forbids is refused."""

import json
import os
import re
import uuid
from unittest import SkipTest

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks

# A dozen requests an operation, the same at every run; the full mode sends hundreds of new ones.
FULL = bool(os.environ.get("QIS_FULL"))
EXAMPLES = 300 if FULL else 12
# Rules between fields, about contents, of the loaded model and of the owner, and limits of numbers that come as text,
# which JSON Schema cannot express; the answer must name one of these fields.
RULES = {
    "size", "width", "height", "aspect_ratio", "seed", "quality", "image", "images", "image_url", "url", "mask",
    "Idempotency-Key", "Last-Event-ID", "batch_size", "init_images", "inputs", "target_size", "resolution", "scheduler",
    "loras", "webhook_url", "controls", "control_image", "control_guidance_start", "layers", "messages", "input",
    "previous_response_id", "upscale", "steps", "cfg_scale", "n_iter", "denoising_strength", "mask_blur",
    "mask_blur_x", "mask_blur_y", "resize_mode", "hr_scale", "hr_resize_x", "hr_resize_y", "hr_second_pass_steps",
    "upscaling_resize", "upscaling_resize_w", "upscaling_resize_h", "imageList",
}  # fmt: skip


load_all_checks()


@pytest.fixture(scope="module")
def fuzzed_server(servers):
    return servers(MAX_PIXELS="1800000", MAX_IMAGES="2", MAX_STEPS="4", MAX_QUEUE="1000")


@pytest.fixture(scope="module")
def schema(fuzzed_server):
    return schemathesis.openapi.from_url(fuzzed_server.url + "/openapi.json")


@pytest.mark.long
@pytest.mark.fault(32)
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_the_server_keeps_to_its_document(schema, subtests, mode):
    for found in schema.get_all_operations():
        operation = found.ok()
        with subtests.test(operation.label):
            fuzz(operation, mode)


def fuzz(operation, mode):
    @settings(
        max_examples=EXAMPLES,
        derandomize=not FULL,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case):
        assume(case.media_type != "multipart/form-data" or not says_something_else_in_a_form(case))
        if case.method == "PUT" and "task_id" in (case.path_parameters or {}):
            # A task that is there already is answered, whatever else is sent with its id.
            case.path_parameters["task_id"] = unused(case.path_parameters["task_id"])
        # A kept-alive connection would hold up the end of the server.
        answer = case.call(headers={"Connection": "close"}, timeout=20)
        assume(answer.status_code != 414)  # a request line that is too long for gunicorn reaches no route
        # A person reads the answer to /share: the page comes up, whatever an app has sent.
        excluded = ["negative_data_rejection"] if operation.path == "/share" else []
        if answer.status_code in (400, 422) and wrong_field(answer.json()) in RULES:
            excluded.append("positive_data_acceptance")
        case.validate_response(answer, excluded_checks=list(map(schemathesis.checks.CHECKS.get_one, excluded)))

    try:
        send()
    except (SkipTest, Unsatisfiable):
        assert mode is GenerationMode.NEGATIVE  # there is nothing to get wrong in a request without parameters
    except ValueError as error:
        # Schemathesis 4 cannot check what it made itself where it puts a file in a text's place.
        if "Unsupported type: 'Binary'" not in str(error):
            raise


def unused(task_id):
    """Return an id that no task has in place of a valid one, and any other as it is."""
    try:
        uuid.UUID(str(task_id))
    except ValueError:
        return task_id
    return str(uuid.uuid4())


def says_something_else_in_a_form(case):
    """Whether the form holds other values than were made: an empty list has no part, and false as a text is "false"."""
    if not isinstance(case.body, dict):
        return False
    fields = case.operation.definition.raw["requestBody"]["content"][case.media_type]["schema"]["properties"]
    texts = {name for name, field in fields.items() if is_text(field) or any(map(is_text, field.get("anyOf", [])))}
    return any(value == [] or (name in texts and not isinstance(value, str)) for name, value in case.body.items())


def is_text(field):
    return field.get("type") == "string" and field.get("format") != "binary"


def wrong_field(body):
    """Return the field that an error names, in whichever envelope; of a task in a batch its own, of a list the list."""
    error = body["error"]
    # JSON-RPC puts it into the error's data.
    param = (error.get("data") or error)["param"] if isinstance(error, dict) else body.get("param")
    return re.sub(r"^requests\[\d+\]\.|\[\d+\]$", "", param or "")


@pytest.fixture(scope="module")
def server(servers):
    """A server of its own: what the document offers changes options and models for everybody."""
    return servers()


def test_every_route_is_in_the_document_with_its_sentence(server):
    document = server.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    operations = [
        (path, method, told) for path, methods in document["paths"].items() for method, told in methods.items()
    ]
    assert len(operations) > 10
    assert [path for path, _, told in operations if not told["summary"].endswith(".")] == []
    listed = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route["path"]) for route in server.get("/").json()["endpoints"]}
    # A WebSocket has no place in OpenAPI 3.1.
    hidden = {"/openapi.json", "/docs", "/docs/{name}", "/ws/generate"}
    assert listed - hidden == set(document["paths"])


def test_the_limits_in_the_document_are_the_settings(fuzzed_server):
    body = fuzzed_server.get("/openapi.json").json()["components"]["schemas"]["GenerateBody"]["properties"]
    assert body["n"]["anyOf"][0]["maximum"] == 2
    assert body["num_inference_steps"]["anyOf"][0]["maximum"] == 4


def test_the_page_needs_no_network(server):
    page = server.get("/docs").text
    assert "http://" not in page.replace(server.url, "")
    assert "https://" not in page
    for name in ("css/swagger-ui.css", "js/swagger-ui-bundle.js", "images/swagger.svg"):
        assert f'"docs/{name}"' in page, "an address that is not below the page's own"
        assert server.get(f"/docs/{name}").status_code == 200
    # The way back, behind a prefix too.
    assert '<a href=".">' in page
    assert server.get("/docs/../../../etc/passwd").status_code == 404


def test_every_example_in_the_document_runs(server):
    document = server.get("/openapi.json").json()
    ran = 0
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            example = told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
            if example is not None:
                filled = path.replace("{task_id}", str(uuid.uuid4()))
                answer = server.ask(method.upper(), filled, json=example, timeout=30)
                assert answer.status_code == 200, (path, answer.text)
                ran += 1
    assert ran >= 2, json.dumps(list(document["paths"]))
