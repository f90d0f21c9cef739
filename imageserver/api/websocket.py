"""The WebSocket dialect `/ws/generate`: one connection, one generation after the other, told as it happens.

A client sends what `POST /generate` takes as one JSON frame, and `{"type": "cancel"}` to stop it. Frames back are
`queued`, `progress`, `preview`, `result` and `error`. Source: the user's Stable Diffusion API document, section 7.
"""

import base64
import json
import logging
import threading
from typing import Any

import gevent
from flask import Blueprint, Flask, copy_current_request_context, request
from flask_sock import Sock
from pydantic import ConfigDict, Field
from simple_websocket import ConnectionClosed
from simple_websocket import Server as Connection

from imageserver.api import image_streams
from imageserver.api.bodies import GenerateBody, Whole
from imageserver.api.client_presence import SOCKET_KEY
from imageserver.api.current import request_id, services
from imageserver.api.image_inputs import fetch
from imageserver.api.init_images import InitImage
from imageserver.api.orders import Delivery, Fulfilment, News, Order
from imageserver.api.placing import place
from imageserver.api.saving import save_all, urls_of
from imageserver.api.services import Services
from imageserver.api.validation import validated
from imageserver.dispatch.client import Glimpse
from imageserver.errors import BadRequest, Busy, InvalidParameter, ServiceError
from imageserver.messages import Progress, Queued

logger = logging.getLogger(__name__)

DIALECT = "websocket"
PATH = "/ws/generate"
# How often a waiting connection looks whether the server stops, and how long it may say nothing.
LOOK = 1.0
IDLE_TIMEOUT = 300.0
PING_INTERVAL = 25.0
GOING_AWAY = 1001
PREVIEW_QUALITY = 85
MOST_PREVIEWS = 1000

blueprint = Blueprint("websocket", __name__)
_sock = Sock()


class WebSocketBody(GenerateBody):
    """What a generate frame holds; unknown keys are refused."""

    model_config = ConfigDict(strict=True, extra="forbid")

    type: str = Field("generate", pattern="^generate$", description="generate; it may be left out.")
    previews: Whole = Field(
        0, ge=0, le=MOST_PREVIEWS, description="Pictures on the way that are wanted of each picture, spread evenly."
    )


class _WholeFrames:
    """A socket whose `send` sends all of it, one caller after the other.

    The library sends from two greenlets, and gevent's own `send` may send a part.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def send(self, data: bytes) -> int:
        """Send everything; returns its length as a socket does."""
        with self._sending:
            self._connection.sendall(data)
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def register(app: Flask) -> None:
    """Serve the dialect; frames keep to the limit of bodies."""
    app.config["SOCK_SERVER_OPTIONS"] = {
        "max_message_size": app.config["MAX_CONTENT_LENGTH"],
        "ping_interval": PING_INTERVAL,
    }
    app.register_blueprint(blueprint)


@blueprint.before_request
def send_whole_frames() -> None:
    """Let the library have a socket that it can send large frames on."""
    if SOCKET_KEY in request.environ:
        request.environ[SOCKET_KEY] = _WholeFrames(request.environ[SOCKET_KEY])


@_sock.route(PATH, bp=blueprint)  # type: ignore[untyped-decorator]
def generate(connection: Connection) -> None:
    """Draw what each frame asks for, until the client hangs up."""
    conversation = _Conversation(services(), connection, request_id())
    try:
        conversation.run()
    finally:
        conversation.cancel()


class _Conversation:
    """One connection: at most one generation at a time."""

    def __init__(self, service: Services, connection: Connection, first_number: int) -> None:
        self._service = service
        self._connection = connection
        self._numbers = [first_number]
        self._fulfilment: Fulfilment | None = None
        self._silent_for = 0.0

    def run(self) -> None:
        """Take frames until the connection or the server ends; raises ConnectionClosed when the client hung up."""
        while True:
            text = self._connection.receive(timeout=LOOK)
            if text is not None:
                self._silent_for = 0.0
                self._take(text)
                continue
            self._silent_for += LOOK
            if self._fulfilment is None:
                if self._service.draining:
                    self._connection.close(GOING_AWAY, "The server is stopping.")
                    return
                if self._silent_for >= IDLE_TIMEOUT:
                    self._connection.close(message="Nothing was asked for.")
                    return

    def cancel(self) -> None:
        """Stop the generation, if there is one."""
        if self._fulfilment is not None:
            self._fulfilment.cancel()

    def _take(self, text: str | bytes) -> None:
        number = self._numbers.pop() if self._numbers else self._service.request_ids.take()
        try:
            content = _read(text)
            if content.get("type") == "cancel":
                self._numbers.append(number)
                self.cancel()
                return
            if self._fulfilment is not None:
                raise Busy("A generation runs on this connection already; cancel it, or open another one.")
            order, warnings, body = _order(self._service, number, content)
        except ServiceError as error:
            self._say_error(error, number)
            return
        self._fulfilment = Fulfilment(self._service, order)
        follow = copy_current_request_context(self._follow)
        gevent.spawn(follow, self._fulfilment, order, warnings, body)

    def _follow(self, fulfilment: Fulfilment, order: Order, warnings: list[str], body: WebSocketBody) -> None:
        """Tell what happens to an order, in a greenlet of its own."""
        last: dict[str, Any] | None = None
        try:
            for news in fulfilment.news():
                if isinstance(news, Delivery):
                    last = self._result(order, news, warnings, body)
                elif (frame := self._frame_of(order, news)) is not None:
                    self._say(frame)
        except ServiceError as error:
            logger.info("%d %s: %s", error.status, error.code, error.sentence)
            last = _error(error, order.number)
        except ConnectionClosed:
            fulfilment.cancel()
        except Exception:
            logger.exception("The generation failed.")
            last = _error(ServiceError("The server made a mistake; its log tells more."), order.number)
        # Before the last frame: a client may answer it with its next request.
        self._fulfilment, self._silent_for = None, 0.0
        if last is not None:
            try:
                self._say(last)
            except ConnectionClosed:
                logger.info("The client left before its answer.")

    def _frame_of(self, order: Order, news: News) -> dict[str, Any] | None:
        match news:
            case Queued():
                return _queued(order, news)
            case Progress():
                return _progress(order, news)
            case Glimpse():
                return self._preview(order, news)
        return None

    def _preview(self, order: Order, glimpse: Glimpse) -> dict[str, Any]:
        picture = image_streams.encoded_preview(
            self._service, order, glimpse, output_format="jpeg", compression=PREVIEW_QUALITY
        )
        preview = glimpse.preview
        return {
            "type": "preview", "image_b64": picture, "index": preview.index, "step": preview.step,
            "total_steps": preview.total, "request_id": order.number,
        }  # fmt: skip

    def _result(self, order: Order, delivery: Delivery, warnings: list[str], body: WebSocketBody) -> dict[str, Any]:
        outcome = delivery.outcome
        encoded = self._service.native_pool.run(lambda: [base64.b64encode(data).decode() for data in delivery.files])
        data: dict[str, Any] = {
            "image_b64": encoded[0],
            "images_b64": encoded,
            "seed": outcome.seeds[0],
            "seeds": list(outcome.seeds),
            "width": outcome.width,
            "height": outcome.height,
            "inference_time": round(outcome.inference_time, 2),
            "queue_time": round(outcome.queue_time, 2),
            "model": delivery.facts.name if delivery.facts else None,
            "output_format": order.finish.output_format,
            "warnings": warnings + list(outcome.warnings),
            "request_id": order.number,
            "cache": delivery.origin,
        }
        if body.save_to_file:
            paths = save_all(self._service, order, delivery)
            folder = self._service.settings.output_dir.as_posix()
            urls = urls_of(paths)
            data |= {"file_path": f"{folder}/{paths[0].name}", "url": urls[0], "urls": urls}
        return {"type": "result", "data": data}

    def _say_error(self, error: ServiceError, number: int) -> None:
        logger.info("%d %s: %s", error.status, error.code, error.sentence)
        self._say(_error(error, number))

    def _say(self, frame: dict[str, Any]) -> None:
        try:
            self._connection.send(json.dumps(frame, separators=(",", ":")))
        except OSError as error:
            raise ConnectionClosed from error


def _read(text: str | bytes) -> dict[str, Any]:
    if isinstance(text, bytes):
        raise BadRequest("Frames are JSON text; binary ones are not read.")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise BadRequest("The frame is not valid JSON.") from None
    if not isinstance(content, dict):
        raise BadRequest("The frame must be a JSON object.")
    return content


def _order(service: Services, number: int, content: dict[str, Any]) -> tuple[Order, list[str], WebSocketBody]:
    if not content.get("prompt"):
        raise BadRequest("Prompt is required", param="prompt")
    body = validated(WebSocketBody, content)
    pictures = {name: fetch(service, content[name], name=name) for name in ("image", "mask") if content.get(name)}
    if "mask" in pictures and "image" not in pictures:
        raise InvalidParameter("mask needs an image to cover.", param="mask")
    init_image = InitImage(image=pictures["image"], mask=pictures.get("mask")) if pictures else None
    fields = body.model_dump(exclude={"type", "previews"}, exclude_unset=True)
    order, warnings, _ = place(
        service, number, fields, request.headers, dialect=DIALECT, init_image=init_image, previews=body.previews
    )
    return order, warnings, body


def _queued(order: Order, queued: Queued) -> dict[str, Any]:
    return {
        "type": "queued", "request_id": order.number, "queue_position": queued.position,
        "queue_wait": round(queued.wait, 3), "expected_seconds": round(queued.own, 3),
    }  # fmt: skip


def _progress(order: Order, progress: Progress) -> dict[str, Any]:
    return {
        "type": "progress", "progress": round(progress.step / progress.total, 4), "step": progress.step,
        "total_steps": progress.total, "request_id": order.number,
    }  # fmt: skip


def _error(error: ServiceError, number: int) -> dict[str, Any]:
    return {
        "type": "error", "message": error.sentence, "code": error.code, "param": error.param, "request_id": number,
        "retry_after": error.retry_after,
    }  # fmt: skip
