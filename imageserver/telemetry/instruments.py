"""The counters and histograms that processes add to, each with its sentence of help, its labels and its buckets."""

from dataclasses import dataclass

# `model` is the model's name, `kind` what the image starts from, `size` the square that holds its pixels.
GENERATION = ("model", "kind", "size", "outcome")
# Labels whose values the instruments do not fix: of each, only so many are told apart.
OPEN_LABELS = frozenset({"model", "key"})
MAX_VALUES = 50
OTHER = "other"

SECONDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
SHORT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
IMAGES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0)


@dataclass(frozen=True)
class Instrument:
    """A counter, or a histogram where it has the upper `bounds` of buckets; the last bucket has none.

    A counter starts at 0 for each of the `initial` values of its label: Prometheus sees no increase in one that begins
    with its first count.
    """

    name: str
    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()
    initial: tuple[str, ...] = ()


REQUEST_SECONDS = Instrument(
    "request_seconds", "Seconds from the arrival of a generation's request to its images or its end.", GENERATION,
    SECONDS,
)  # fmt: skip
QUEUE_SECONDS = Instrument(
    "request_queue_seconds", "Seconds that a generation waited in the queue.", GENERATION, SECONDS
)
STEP_SECONDS = Instrument(
    "step_seconds", "Mean seconds between two denoising steps of a generation, over all its images.", GENERATION,
    SHORT_SECONDS,
)  # fmt: skip
STAGE_SECONDS = Instrument(
    "stage_seconds", "Seconds of a generation in each stage: text, denoise, decode, encode.", ("stage", *GENERATION),
    (*SHORT_SECONDS, 60.0, 120.0, 300.0),
)  # fmt: skip
FIRST_PREVIEW_SECONDS = Instrument(
    "first_preview_seconds", "Seconds from the arrival of a request to its first preview.", ("model", "kind", "size"),
    SECONDS,
)  # fmt: skip
BATCH_SIZE = Instrument(
    "batch_size", "Images in the largest forward that served a generation.", ("model", "kind", "size"), IMAGES
)
MODEL_LOAD_SECONDS = Instrument("model_load_seconds", "Seconds that loading a model took.", ("model",), SECONDS)
KEY_DEVICE_SECONDS = Instrument(
    "key_device_seconds", "Device seconds of generations, by the name of the key; none without keys.", ("key",)
)
CACHE_RESULTS = Instrument(
    "cache_results", "Generations answered from the cache (hit), with another one (join), or by themselves (miss).",
    ("result",), initial=("hit", "join", "miss"),
)  # fmt: skip
REFUSALS = Instrument(
    "refusals", "Answers that were errors, by their code.", ("code",),
    initial=("queue_full", "storage_full", "storage_unavailable"),
)  # fmt: skip
WEBHOOKS = Instrument(
    "webhooks", "Attempts to send a webhook: delivered, retried, or abandoned for good.", ("result",),
    initial=("delivered", "retried", "abandoned"),
)  # fmt: skip

INSTRUMENTS = {
    instrument.name: instrument
    for instrument in (
        REQUEST_SECONDS, QUEUE_SECONDS, STEP_SECONDS, STAGE_SECONDS, FIRST_PREVIEW_SECONDS, BATCH_SIZE,
        MODEL_LOAD_SECONDS, KEY_DEVICE_SECONDS, CACHE_RESULTS, REFUSALS, WEBHOOKS,
    )
}  # fmt: skip
