"""The WebSocket dialect `/ws/generate`: one connection, one generation after the other, told as it happens.

A client sends what `POST /generate` takes as one JSON frame, and `{"type": "cancel"}` to stop it. Frames back are
`queued`, `progress`, `preview`, `result` and `error`. Source: the user's Stable Diffusion API document, section 7.
"""

import base64
import contextlib
import logging
from collections.abc import Iterator
from contextvars import copy_context
from functools import partial

import gevent
from flask import Blueprint, Flask, Response, request
from flask_sock import Sock
from simple_websocket import ConnectionClosed
from simple_websocket import ConnectionError as HandshakeFailed
from simple_websocket import Server as Connection
from werkzeug.routing.exceptions import WebsocketMismatch
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import ProtocolError

from imageserver.api import errors
from imageserver.api.dialects.websocket import frames
from imageserver.api.dialects.websocket.client_socket import ClientSocket, FrameKind, Outbox
from imageserver.api.dialects.websocket.frames import Frame, WebSocketBody
from imageserver.api.generation import previews
from imageserver.api.generation.run import GenerationRequest, GenerationResult, Update
from imageserver.api.generation.save import save_all, urls_of
from imageserver.api.request_context import request_id, services
from imageserver.api.services import Services
from imageserver.api.wsgi.disconnect import SOCKET_KEY
from imageserver.dispatch.client.ticket import PreviewImage
from imageserver.errors import BadRequest, Busy, Draining, ServiceError, UpgradeRequired
from imageserver.protocol.messages import Progress, Queued
from imageserver.telemetry.logs import current_request

logger = logging.getLogger(__name__)

PATH = "/ws/generate"
# How often a waiting connection looks whether the server stops, and how long it may say nothing.
POLL_SECONDS = 1.0
IDLE_TIMEOUT = 300.0
PING_INTERVAL = 25.0
# How long a client may take nothing of what it is sent, usually and while the server stops.
STALLED = 60.0
STALLED_WHILE_STOPPING = 5.0
# How long a client is given to answer the end of a connection.
FAREWELL = 2.0
PREVIEW_QUALITY = 85
VERSION = "13"

blueprint = Blueprint("websocket", __name__)
_sock = Sock()


def register(app: Flask) -> None:
    """Serve the dialect; frames keep to the limit of bodies."""
    app.config["SOCK_SERVER_OPTIONS"] = {
        "max_message_size": app.config["MAX_CONTENT_LENGTH"],
        "ping_interval": PING_INTERVAL,
        "receive_bytes": 65536,
    }
    app.register_blueprint(blueprint)
    app.register_error_handler(WebsocketMismatch, _ask_for_upgrade)


@blueprint.before_request
def prepare() -> None:
    """Let the library have a socket that it can send large frames on, and no compression."""
    service = services()
    # Here, because the view cannot answer in HTTP any more.
    request_id()
    request.environ[SOCKET_KEY] = ClientSocket(
        request.environ[SOCKET_KEY], lambda: STALLED_WHILE_STOPPING if service.draining else STALLED
    )
    # The library would compress on the greenlet: 16 MiB of images kept every other client waiting for 0.5 s.
    request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)


@_sock.route(PATH, bp=blueprint)  # type: ignore[untyped-decorator]
def generate(connection: Connection) -> None:
    """Generate what each frame asks for, until the client hangs up."""
    # Nobody else may listen on it: what the client sends would be lost.
    del request.environ[SOCKET_KEY]
    conversation = _Session(services(), connection, request_id())
    try:
        conversation.run()
    except ConnectionClosed:
        conversation.end()
    except Exception:
        # Not raised: it would be answered in HTTP, in the middle of a WebSocket.
        logger.exception("A conversation failed.")
        conversation.end(CloseReason.INTERNAL_ERROR, "The server made a mistake.")


@blueprint.errorhandler(ProtocolError)
@blueprint.errorhandler(UnicodeError)
def refuse_handshake(error: Exception) -> Response:
    """Answer what looks like a WebSocket's handshake and is none."""
    if request.headers.get("Sec-WebSocket-Version", VERSION) != VERSION:
        return _ask_for_upgrade(error)
    return errors.error_response(BadRequest(f"The WebSocket handshake is wrong: {error}."), errors.native)


@blueprint.errorhandler(OSError)
@blueprint.errorhandler(HandshakeFailed)
def bury_handshake(error: Exception) -> Response:
    """Answer a client that has left during the handshake, and reads nothing more."""
    logger.info("The client left during the handshake: %s", error)
    return Response(status=400)


def _ask_for_upgrade(_: Exception) -> Response:
    sentence = f"{PATH} speaks WebSocket, version {VERSION}: connect to it as ws:// and send JSON."
    response = errors.error_response(UpgradeRequired(sentence), errors.native)
    response.headers["Upgrade"] = "websocket"
    response.headers["Sec-WebSocket-Version"] = VERSION
    return response


class _RunningGeneration:
    """One generation of a conversation; it may be cancelled from any greenlet."""

    def __init__(self, service: Services, number: int, body: WebSocketBody) -> None:
        self.number, self.body = number, body
        self.missed_previews = 0
        self._service = service
        self._is_cancelled = False

    def updates(self) -> Iterator[tuple[GenerationRequest, Update]]:
        """Yield what happens to the generation, and its request; raises the ServiceError that prevented the images."""
        pending = frames.pending_of(self._service, self.number, self.body)
        for update in pending.updates():
            if self._is_cancelled and not isinstance(update, GenerationResult):
                self.cancel()
                continue
            yield pending.request, update

    def cancel(self) -> None:
        """Stop it, though it may not have reached the queue yet."""
        self._is_cancelled = True
        # Its number is known to the dispatcher also while it waits for its model.
        self._service.client.cancel(self.number)

    def miss_preview(self) -> None:
        """Note that the client was too slow for a preview."""
        self.missed_previews += 1


class _Session:
    """One connection: at most one generation at a time."""

    def __init__(self, service: Services, connection: Connection, first_number: int) -> None:
        self._service = service
        self._connection = connection
        self._outbox = Outbox(lambda frame: connection.send(frames.encoded(frame)))
        self._first_number: int | None = first_number
        self._turn: _RunningGeneration | None = None
        self._silent_for = 0.0
        connection.sock.serve(connection)

    def run(self) -> None:
        """Take frames until the connection or the server ends; raises ConnectionClosed when the client hung up."""
        while True:
            text = self._connection.receive(timeout=POLL_SECONDS)
            if text is not None:
                self._receive(text)
            if self._turn is not None:
                continue
            if self._service.draining:
                self._outbox.flush()
                self.end(CloseReason.GOING_AWAY, "The server is stopping.")
                return
            self._silent_for = self._silent_for + POLL_SECONDS if text is None and self._outbox.is_empty else 0.0
            if self._silent_for >= IDLE_TIMEOUT:
                self.end(CloseReason.NORMAL_CLOSURE, "Nothing was asked for.")
                return

    def end(self, code: int = CloseReason.NORMAL_CLOSURE, sentence: str | None = None) -> None:
        """Stop what runs and close the connection, with a code and a sentence where the client still listens."""
        if self._turn is not None:
            self._turn.cancel()
        self._outbox.close()
        with contextlib.suppress(ConnectionClosed, OSError, ProtocolError):
            self._connection.close(code, sentence)
        self._connection.thread.join(FAREWELL)
        self._connection.sock.cut()
        self._connection.thread.join(FAREWELL)

    def _receive(self, text: str | bytes) -> None:
        self._silent_for = 0.0
        number: int | None = None
        try:
            number = self._next_number()
            frame = frames.read(text)
            if not frames.is_cancel(frame):
                self._start(number, frame)
            # A cancel that comes too late is not an error: its client could not know.
            elif self._turn is not None:
                self._turn.cancel()
        except ServiceError as error:
            logger.info("%d %s: %s", error.status, error.code, error.sentence)
            refusal = frames.failure(number, error)
            self._outbox.put(lambda: refusal)

    def _next_number(self) -> int:
        number, self._first_number = self._first_number, None
        if number is None:
            number = self._service.request_ids.next_id()
        current_request.set(number)
        return number

    def _start(self, number: int, frame: Frame) -> None:
        if self._turn is not None:
            raise Busy("A generation runs on this connection already; cancel it, or open another one.")
        if self._service.draining:
            raise Draining("The server is stopping.", retry_after=5)
        self._turn = _RunningGeneration(self._service, number, frames.checked(frame))
        # In a copy of this greenlet's context: it is the same request, with its key and its number.
        gevent.spawn(copy_context().run, self._follow, self._turn)

    def _follow(self, turn: _RunningGeneration) -> None:
        """Send the updates of a generation and its last frame, in a greenlet of its own."""
        try:
            last = self._send_updates(turn)
        except ServiceError as error:
            logger.info("%d %s: %s", error.status, error.code, error.sentence)
            last = frames.failure(turn.number, error)
        except ConnectionClosed:
            turn.cancel()
            return
        except Exception:
            logger.exception("The generation failed.")
            mistake = ServiceError("The server made a mistake; its log has the details under this request id.")
            last = frames.failure(turn.number, mistake)
        try:
            self._outbox.put(lambda: self._last(turn, last))
        except ConnectionClosed:
            logger.info("The client left before its answer.")

    def _send_updates(self, turn: _RunningGeneration) -> Frame:
        """Send the updates of a generation; return its result."""
        number, put = turn.number, self._outbox.put
        for generation_request, update in turn.updates():
            match update:
                case Queued():
                    put(partial(frames.queued, number, update), FrameKind.PROGRESS)
                case Progress():
                    put(partial(frames.progress, number, update), FrameKind.PROGRESS)
                case PreviewImage():
                    put(partial(self._preview, generation_request, update), FrameKind.PREVIEW, turn.miss_preview)
                case GenerationResult():
                    return self._result(turn, update)
        raise AssertionError("The updates end with the result.")

    def _last(self, turn: _RunningGeneration, frame: Frame) -> Frame:
        # When it is its turn, and before it is sent: a client may answer it with its next request.
        self._turn = None
        if turn.missed_previews and frame["type"] == "result":
            frame["data"]["warnings"].append(
                f"{turn.missed_previews} previews were left out: the connection was too slow for them."
            )
        return frame

    def _preview(self, generation_request: GenerationRequest, preview_image: PreviewImage) -> Frame:
        image = previews.encoded_preview(
            self._service, generation_request, preview_image, output_format="jpeg", compression=PREVIEW_QUALITY
        )
        return frames.preview(generation_request.number, preview_image.preview, image)

    def _result(self, turn: _RunningGeneration, result: GenerationResult) -> Frame:
        images = [self._service.thread_pool.run(base64.b64encode, data).decode() for data in result.files]
        frame = frames.result(result, images)
        if turn.body.save_to_file:
            paths = save_all(self._service, result)
            folder, urls = self._service.settings.output_dir.as_posix(), urls_of(paths)
            frame["data"] |= {"file_path": f"{folder}/{paths[0].name}", "url": urls[0], "urls": urls}
        return frame
