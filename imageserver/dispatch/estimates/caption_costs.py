"""Predict how long a caption keeps the device busy: its words take longer than its image, which is scaled down."""

# Until one has been measured: as long as a guided image of a megapixel until then.
INITIAL_SECONDS = 2.0
DECAY = 0.8


class CaptionCosts:
    """The mean device seconds of captions by model, in which recent ones weigh more."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    def seconds(self, model: str) -> float:
        return self._seconds.get(model, INITIAL_SECONDS)

    def observe(self, model: str, seconds: float) -> None:
        known = self._seconds.get(model, seconds)
        self._seconds[model] = DECAY * known + (1 - DECAY) * seconds
