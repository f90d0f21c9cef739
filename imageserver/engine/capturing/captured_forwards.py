"""A forward that replays captured launches where that is faster; every other call is computed as before.

With small images the host is the bottleneck: on an H100 with a slow host an eager forward of 512 x 512 took 114 ms and
the same launches, captured, 56 ms with the same bits. A graph fits only one kind of call, and a text of another length
is another kind. So only calls that come again and again are captured.
"""

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from imageserver.engine.capturing.call_values import NotCapturable, key_of, tensors_in, with_tensors
from imageserver.engine.device_errors import drop_frames
from imageserver.engine.devices.batch_limits import Clock, Forward

logger = logging.getLogger(__name__)

# Eager calls of one kind before it is captured; an image of 20 steps has that many or twice as many.
EAGER_CALLS = 3
# The first replay also sends the graph to the device.
TIMED_REPLAYS = 2
MIN_GAIN = 1.10
MAX_GRAPHS = 64
# After so many failures no call with the same arguments is tried, whatever its size: a mask, for example, makes
# Qwen-Image wait for the device.
MAX_FAILURES = 3
# Clients choose sizes and texts: of more kinds than these, the one that came least recently is forgotten.
MAX_KINDS = 1024


class Graph(Protocol):
    """Captured launches: `replay` computes again from the inputs' present content and overwrites `output`."""

    @property
    def output(self) -> Any: ...

    @property
    def bytes(self) -> int: ...

    @property
    def replay(self) -> Callable[[], None]: ...


class Graphs(Protocol):
    """Captures the launches of a computation on a device."""

    device: torch.device

    def capture(self, compute: Callable[[], Any]) -> Graph: ...

    def wait(self) -> None: ...


@dataclass
class _Kind:
    """What is known about calls of one kind; a refused kind is never captured."""

    eager: list[float] = field(default_factory=list)
    refused: bool = False


class CapturedForwards:
    """The captured forwards of a model by kind of call, the last used at the end."""

    def __init__(
        self,
        forward: Forward,
        graphs: Graphs,
        max_bytes: int,
        weights: Callable[[], tuple[Hashable, Hashable]] = lambda: (None, None),
        clock: Clock = time.perf_counter,
    ) -> None:
        """Capture `forward`; the graphs take at most `max_bytes`.

        `weights` returns the version of what is loaded, whose change ends all graphs, and which part of it is in use.
        """
        self._forward = forward
        self._graphs = graphs
        self._max_bytes = max_bytes
        self._weights = weights
        self._clock = clock
        self._version = weights()[0]
        self._captured: OrderedDict[Hashable, tuple[Mapping[str, Any], Graph]] = OrderedDict()
        self._kinds: OrderedDict[Hashable, _Kind] = OrderedDict()
        self._failures: Counter[frozenset[str]] = Counter()

    def __len__(self) -> int:
        return len(self._captured)

    @property
    def bytes(self) -> int:
        return sum(graph.bytes for _, graph in self._captured.values())

    def __call__(self, **arguments: Any) -> Any:
        """Compute a call, captured where its kind is, and wait for the device."""
        output = self._compute(arguments)
        self._graphs.wait()
        return output

    def clear(self) -> None:
        """Drop every graph and free its memory."""
        self._captured.clear()
        self._kinds.clear()
        self._failures.clear()

    def _compute(self, arguments: Mapping[str, Any]) -> Any:
        version, in_use = self._weights()
        if version != self._version:
            self.clear()
            self._version = version
        try:
            key = in_use, key_of(arguments, self._graphs.device)
        except NotCapturable:
            return self._forward(**arguments)
        if key in self._captured:
            return self._replay(key, arguments)
        kind = self._kind(key)
        if kind.refused or self._failures[_given(arguments)] >= MAX_FAILURES:
            return self._forward(**arguments)
        if len(kind.eager) < EAGER_CALLS:
            output, seconds = self._timed(lambda: self._forward(**arguments))
            kind.eager.append(seconds)
            return output
        return self._capture(key, kind, arguments)

    def _replay(self, key: Hashable, arguments: Mapping[str, Any]) -> Any:
        self._captured.move_to_end(key)
        inputs, graph = self._captured[key]
        for static, given in zip(tensors_in(inputs), tensors_in(arguments), strict=True):
            static.copy_(given)
        graph.replay()
        return _copied(graph.output)

    def _capture(self, key: Hashable, kind: _Kind, arguments: Mapping[str, Any]) -> Any:
        """Capture a kind and return this call's result; where that fails or gains nothing, it stays eager."""
        title = _title(arguments)
        found = self._try_to_capture(title, arguments)
        if found is None:
            kind.refused = True
            self._failures[_given(arguments)] += 1
            return self._forward(**arguments)
        inputs, graph, captured, output = found
        eager, figures = min(kind.eager), (title, 1000 * captured, 1000 * min(kind.eager))
        if eager < MIN_GAIN * captured or graph.bytes > self._max_bytes:
            kind.refused = True
            logger.info("Forwards of %s stay eager: captured %.1f ms, eager %.1f ms, %d MiB.", *figures, _mib(graph))
            return output
        del self._kinds[key]
        self._captured[key] = inputs, graph
        while len(self) > MAX_GRAPHS or self.bytes > self._max_bytes:
            self._captured.popitem(last=False)
        logger.info("Forwards of %s are captured: %.1f ms, eager %.1f ms, %d MiB.", *figures, _mib(graph))
        return output

    def _try_to_capture(
        self, title: str, arguments: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], Graph, float, Any] | None:
        """Return a graph with its inputs, the seconds of a replay and its result; None where that fails.

        A failure keeps no memory: the call that is computed instead may need all of it.
        """
        try:
            inputs = with_tensors(dict(arguments), torch.clone)
            graph = self._graphs.capture(lambda: self._forward(**inputs))
            seconds = min(self._timed(graph.replay)[1] for _ in range(TIMED_REPLAYS))
            return inputs, graph, seconds, _copied(graph.output)
        except Exception as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            logger.warning("Forwards of %s cannot be captured and stay eager: %s", title, reason)
            drop_frames(error)
            return None

    def _kind(self, key: Hashable) -> _Kind:
        kind = self._kinds.setdefault(key, _Kind())
        self._kinds.move_to_end(key)
        if len(self._kinds) > MAX_KINDS:
            self._kinds.popitem(last=False)
        return kind

    def _timed(self, compute: Callable[[], Any]) -> tuple[Any, float]:
        self._graphs.wait()
        began = self._clock()
        output = compute()
        self._graphs.wait()
        return output, self._clock() - began


def _copied(output: Any) -> Any:
    """Return a result that the next replay does not overwrite."""
    return with_tensors(output, torch.clone)


def _given(arguments: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(name for name, value in arguments.items() if value is not None)


def _title(arguments: Mapping[str, Any]) -> str:
    """Return the first tensors of a call with their shapes, for the log."""
    tensors = [f"{name} {tuple(each.shape)}" for name, each in arguments.items() if isinstance(each, torch.Tensor)]
    return ", ".join(tensors[:3])


def _mib(graph: Graph) -> float:
    return graph.bytes / 2**20
