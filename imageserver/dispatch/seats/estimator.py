"""Predict a generation's time and memory on each seat's device, learning from earlier ones."""

from imageserver.capabilities import check_describes
from imageserver.dispatch.estimates.cost_model import CostModel
from imageserver.dispatch.estimates.queue_wait import SeatLoad, WaitEstimate
from imageserver.dispatch.seats.seat import Seat
from imageserver.dispatch.seats.seat_list import SeatList
from imageserver.errors import OutOfMemory
from imageserver.generation import Generation, Outcome
from imageserver.protocol.messages import Estimate


class Estimator:
    """The costs on all devices together, for seats that have not generated with a model yet, and on each."""

    def __init__(self, seats: SeatList) -> None:
        self._seats = seats
        self.costs = CostModel()

    def seconds(self, seat: Seat, generation: Generation) -> float:
        """Return the expected device time of a generation on a seat."""
        costs = seat.costs if seat.costs.knows(generation.model) else self.costs
        return costs.seconds(generation)

    def loads(self, generation: Generation) -> list[SeatLoad]:
        """Return what runs on each ready seat, as one more such generation would find it."""
        together = self.costs.seconds(generation)
        return [
            SeatLoad(
                tuple(seat.running.values()),
                seat.has_room(generation),
                self.seconds(seat, generation) / together if together else 1.0,
            )
            for seat in self._seats.ready
        ]

    def load_seconds(self, generation: Generation) -> float:
        """Return how long a generation waits until its model is in memory again: as long as the last load took."""
        if self._seats.holding(generation.model):
            return 0.0
        return min((info.load_time for seat in self._seats if (info := seat.info_of(generation))), default=0.0)

    def observe(self, seat: Seat, generation: Generation, outcome: Outcome) -> None:
        """Learn from a finished generation; what its prompt and its LoRAs took is not the cost of an image."""
        # A caption consists of nothing else.
        writing = 0.0 if generation.caption else outcome.writing_time
        for costs in (self.costs, seat.costs):
            costs.observe(generation, outcome.device_time - writing - outcome.lora_time)
        info = seat.info_of(generation)
        if info is not None and not generation.caption:
            # The peak may be that of the language model, as if it had not been measured.
            seat.memory.observe(info, generation, 0.0 if outcome.writing_time else outcome.vram_peak_mb)

    def observe_failure(self, seat: Seat, generation: Generation) -> None:
        """Learn from a generation that ran alone and did not fit into the memory; captions say nothing about images."""
        info = seat.info_of(generation)
        if info is not None and not generation.caption:
            seat.memory.observe_failure(info, generation, seat.models.loaded)

    def refuse_if_too_large(self, generation: Generation) -> None:
        """Raise OutOfMemory for images, NotFound for a caption, that are known to be possible on no device."""
        if obstacle := self.common_obstacle(generation):
            check_describes(not generation.caption)
            raise OutOfMemory(obstacle)

    def common_obstacle(self, generation: Generation) -> str | None:
        """Return why no device can hold a generation; None if nothing rules out one of them that is there or coming."""
        obstacles = [self.obstacle(seat, generation) for seat in self._seats if seat.is_coming]
        return obstacles[0] if obstacles and all(obstacles) else None

    def obstacle(self, seat: Seat, generation: Generation) -> str | None:
        """Return why a seat's device cannot hold a generation; None if nothing rules it out.

        A model that describes images on one device may be offloaded on another, and describe none there.
        """
        info = seat.info_of(generation)
        if info is None:
            return None
        if generation.caption:
            return None if info.captions else f"{info.name} describes no images on {seat.name}."
        return seat.memory.obstacle(info, generation, seat.models.loaded)

    def estimate(self, job: int, generation: Generation, expected: WaitEstimate) -> Estimate:
        """Return all that is expected of a generation with this wait; its memory is that of the first seat."""
        knowing = ((seat, seat.info_of(generation)) for seat in self._seats)
        peaks = (seat.memory.expected(info, generation) for seat, info in knowing if info)
        return Estimate(
            job=job,
            own=expected.own,
            wait=expected.wait,
            position=expected.position,
            learnt=self.costs.learnt,
            median_error=self.costs.median_error,
            memory_mb=next((peak for peak in peaks if peak is not None), None),
        )
