"""Begins the trace of each generation of one worker, and hands its spans to a processor that exports them."""

from collections.abc import Mapping

from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from imageserver import __version__
from imageserver.generation import Generation
from imageserver.telemetry.tracing.generation_trace import GenerationTrace

SERVICE = "qwen-image-server"
MAX_PROMPT_CHARACTERS = 500


class Tracing:
    """The traces of one worker; with `prompts` they have the beginning of each prompt."""

    def __init__(self, processor: SpanProcessor, *, prompts: bool) -> None:
        # Its name, and more about it, may come from OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
        resource = Resource.create({SERVICE_NAME: SERVICE, SERVICE_VERSION: __version__})
        resource = resource.merge(OTELResourceDetector().detect())
        # Its flush at the exit would wait up to half a minute for a collector that is away.
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(processor)
        self._tracer = provider.get_tracer("imageserver", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._prompts = prompts

    def begin(
        self, generation: Generation, arrived: float, headers: Mapping[str, str], attributes: Mapping[str, str]
    ) -> GenerationTrace:
        """Begin the trace of a request that `arrived` (monotonic clock), below the span that its headers name.

        Source: W3C Trace Context, https://www.w3.org/TR/trace-context/.
        """
        context = self._propagator.extract(headers)
        known: dict[str, str | int] = {
            "image.width": generation.width, "image.height": generation.height, "image.count": generation.count,
            "image.steps": generation.steps, **attributes,
        }  # fmt: skip
        if self._prompts:
            known["image.prompt"] = generation.prompt[:MAX_PROMPT_CHARACTERS]
        return GenerationTrace(self._tracer, context, arrived, known)
