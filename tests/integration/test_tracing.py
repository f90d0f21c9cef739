"""A collector gets the trace of each generation, below the span of the client that asked for it."""

import json

from tests.support.otlp_collector import otlp_collector

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SECRET = "a lighthouse of glass"


def test_a_request_is_one_tree_below_its_clients_span_and_no_prompt_is_in_it(own_servers):
    with otlp_collector() as collector:
        server = own_servers(
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="100", LOG_FORMAT="json", LOG_PROMPTS="0"
        )
        answer = server.ask(
            "POST", "/generate", json={"prompt": SECRET, "num_inference_steps": 25, "cache": False},
            headers={"traceparent": f"00-{TRACE}-{PARENT}-01"}, timeout=60,
        )  # fmt: skip
        assert answer.status_code == 200
        server.wait_for(lambda: any(span.name == "POST /generate" for span in collector.spans), "the request's span")
        *stages, root = collector.spans
        assert [span.name for span in stages] == [
            "queue", "steps 1-10", "steps 11-20", "steps 21-25", "text", "decode", "encode",
        ]  # fmt: skip
        assert root.parent_span_id.hex() == PARENT
        assert {span.parent_span_id for span in stages} == {root.span_id}
        assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
        assert {path for path, _ in collector.bodies} == {"/v1/traces"}
        assert not [body for _, body in collector.bodies if SECRET.encode() in body]
        lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
        assert [line["trace_id"] for line in lines if line["message"].startswith("Generated")] == [TRACE]
