"""What monitors see, and the one envelope that every failure comes in."""

import json

import pytest

from aspect_ratios import ASPECT_RATIOS

HEALTH_KEYS = {
    "status", "model_loaded", "device", "gpu", "cuda_version",
    "worker_pool_initialized", "active_workers", "concurrent_support", "architecture",
    "pipeline_ready", "queue_length", "active_tasks", "total_tasks", "generator_info",
}  # fmt: skip
INFO_KEYS = {
    "model_name", "device", "gpu", "cuda_version", "dtype", "model_load_time", "total_parameters", "model_size_mb",
    "gpu_memory_mb", "supported_aspect_ratios", "total_requests_processed", "concurrent_support",
}  # fmt: skip


def assert_envelope(response, status, code, param=None):
    """Check the whole envelope, and that the id in it is the one in the header."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/json"
    body = response.json()
    assert set(body) == {"error", "code", "param", "request_id"}
    assert (body["code"], body["param"]) == (code, param)
    assert body["error"]
    assert response.headers["X-Request-Id"] == str(body["request_id"])
    return body["error"]


def test_health_has_every_documented_key(fake_server):
    health = fake_server.health()
    assert health.keys() >= HEALTH_KEYS
    assert (health["status"], health["model_loaded"], health["pipeline_ready"]) == ("healthy", True, True)
    assert (health["gpu"], health["cuda_version"], health["device"]) == ("CPU", "N/A", "cpu")
    info = health["generator_info"]
    assert info.keys() == {"model_id", "device", "dtype", "scheduler", "model_loaded", "defaults"}
    assert info["defaults"] == {"steps": 20, "guidance_scale": 4.0, "height": 512, "width": 512}


def test_health_counts_what_runs_and_waits(own_server):
    running = [own_server.start_generating("[step=0.1]", num_inference_steps=10) for _ in range(3)]
    own_server.wait_for(lambda: own_server.health()["queue_length"] == 2, "a queue of two")
    health = own_server.health()
    assert (health["active_tasks"], health["total_tasks"]) == (1, 3)
    assert [future.result(30).status_code for future in running] == [200, 200, 200]
    own_server.wait_until_idle()
    assert own_server.get("/info").json()["total_requests_processed"] == 3


def test_info_tells_the_loaded_model_and_all_nine_sizes(fake_server):
    info = fake_server.get("/info").json()
    assert info.keys() >= INFO_KEYS
    assert (info["model_name"], info["dtype"]) == ("fake", "float32")
    # The page, and perhaps others, read it by this name.
    assert "text" in info["draws_from"]
    limits = info["input_limits"]
    assert (info["layers"], limits["images"], limits["pixels"] / limits["generated_pixels"]) == (0, 1, 4)
    assert info["supported_aspect_ratios"] == list(ASPECT_RATIOS)
    assert len(ASPECT_RATIOS) == 9


@pytest.mark.parametrize(("path", "status"), [("/livez", "alive"), ("/readyz", "healthy"), ("/startupz", "healthy")])
def test_probes_answer_200_when_all_is_well(fake_server, path, status):
    response = fake_server.get(path)
    assert (response.status_code, response.json()["status"]) == (200, status)


def test_start_page_lists_the_routes_with_a_sentence_each(fake_server):
    page = fake_server.get("/").json()
    routes = {route["path"]: route for route in page["endpoints"]}
    assert routes.keys() >= {"/generate", "/health", "/info", "/livez", "/readyz", "/startupz", "/"}
    assert routes["/generate"]["methods"] == ["POST"]
    assert all(route["summary"] for route in routes.values())


def test_health_polls_use_up_no_request_ids(own_server):
    first = int(own_server.generate().headers["X-Request-Id"])
    for _ in range(5):
        own_server.health()
    assert int(own_server.generate().headers["X-Request-Id"]) == first + 1


@pytest.mark.parametrize("body", [{}, {"prompt": ""}, {"prompt": None}, {"prompt": " \n"}, {"seed": 1}])
def test_missing_prompt_has_the_documented_sentence(fake_server, body):
    assert assert_envelope(fake_server.post(body), 400, "bad_request", "prompt") == "Prompt is required"


def test_unknown_key_is_named_with_the_known_ones(fake_server):
    sentence = assert_envelope(fake_server.generate(stepz=3), 422, "invalid_parameter", "stepz")
    assert "num_inference_steps" in sentence


def test_unknown_aspect_ratio_is_answered_with_the_choices(fake_server):
    sentence = assert_envelope(fake_server.generate(aspect_ratio="5:7"), 400, "bad_request", "aspect_ratio")
    assert all(name in sentence for name in ASPECT_RATIOS)


@pytest.mark.parametrize("language", ["de", "EN"])
def test_unknown_language_is_refused_not_replaced(fake_server, language):
    sentence = assert_envelope(fake_server.generate(language=language), 422, "invalid_parameter", "language")
    assert "en" in sentence
    assert "zh" in sentence


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"width": 512}, "height"),
        ({"height": 512}, "width"),
        ({"size": "512x512", "width": 512, "height": 512}, "size"),
    ],
)
def test_half_a_size_and_two_sizes_are_refused(fake_server, fields, param):
    assert_envelope(fake_server.generate(**fields), 422, "invalid_parameter", param)


def test_limits_of_the_operator_are_named_with_their_setting(servers):
    server = servers(
        MAX_PIXELS="300000", MAX_STEPS="30", MAX_IMAGES="2", MAX_PROMPT_CHARS="50", REQUEST_TIMEOUT="30",
        MAX_BODY_MB="0.01",
    )  # fmt: skip
    assert server.generate("x" * 50, num_inference_steps=30, n=2, timeout=30).ok
    for fields, param, setting in [
        ({"aspect_ratio": "16:9"}, "aspect_ratio", "MAX_PIXELS"),
        ({"size": "600x600"}, "size", "MAX_PIXELS"),
        ({"width": 600, "height": 600}, "width", "MAX_PIXELS"),
        ({"num_inference_steps": 31}, "num_inference_steps", "MAX_STEPS"),
        ({"n": 3}, "n", "MAX_IMAGES"),
        ({"timeout": 31}, "timeout", "REQUEST_TIMEOUT"),
        ({"prompt": "x" * 51}, "prompt", "MAX_PROMPT_CHARS"),
        ({"negative_prompt": "x" * 51}, "negative_prompt", "MAX_PROMPT_CHARS"),
    ]:
        response = server.post({"prompt": "a red circle"} | fields)
        assert setting in assert_envelope(response, 422, "invalid_parameter", param)
    assert "MAX_BODY_MB" in assert_envelope(server.generate("x" * 20_000), 413, "body_too_large")


@pytest.mark.parametrize("body", [b"", b"{", b"prompt=cat", b"\xff\xfe\x00", b'{"prompt": "a"', b"[" * 100_000])
def test_invalid_json_is_said_to_be_so(fake_server, body):
    assert "JSON" in assert_envelope(fake_server.post(body), 400, "bad_request")


@pytest.mark.parametrize("body", [[], "cat", 5, None, True, [{"prompt": "a"}]])
def test_json_that_is_no_object_is_refused(fake_server, body):
    response = fake_server.post(json.dumps(body).encode())
    assert "JSON object" in assert_envelope(response, 400, "bad_request")


def test_unknown_addresses_are_404_in_json(fake_server):
    assert_envelope(fake_server.get("/no/such/thing"), 404, "not_found")


def test_wrong_method_is_405_in_json_with_the_right_one(fake_server):
    response = fake_server.get("/generate")
    assert_envelope(response, 405, "method_not_allowed")
    assert "POST" in response.headers["Allow"]


@pytest.mark.fault(31)
def test_no_answer_opens_the_server_to_other_origins(fake_server):
    for path in ("/health", "/generate", "/nothing"):
        headers = fake_server.get(path, headers={"Origin": "http://evil.example"}).headers
        assert not [name for name in headers if name.lower().startswith("access-control-")]


@pytest.mark.fault(31)
@pytest.mark.parametrize("path", ["/console", "/?__debugger__=yes&cmd=resource&f=debugger.js"])
def test_there_is_no_debugger(fake_server, path):
    response = fake_server.get(path)
    assert response.headers["Content-Type"] == "application/json"
    assert "werkzeug" not in response.text.lower()


@pytest.mark.fault(31)
def test_errors_show_neither_paths_nor_traces(fake_server):
    for response in (fake_server.generate("[fail]"), fake_server.get("/images/nothing.png"), fake_server.post(b"{")):
        assert not any(word in response.text for word in ("Traceback", "/imageserver", ".py", str(fake_server.folder)))
