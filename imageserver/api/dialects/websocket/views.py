"""The WebSocket dialect `/ws/generate`: one generation at a time per connection, with progress and previews.

A client sends the body of `POST /generate` as one JSON frame, and `{"type": "cancel"}` to cancel it. The server sends
`queued`, `progress`, `preview`, `result` and `error` frames.
"""

import base64
import contextlib
import logging
from collections.abc import Iterator
from contextvars import copy_context
from functools import partial

import gevent
from flask import Blueprint, Flask, Response, g, request
from flask_sock import Sock
from simple_websocket import ConnectionClosed
from simple_websocket import ConnectionError as HandshakeFailed
from simple_websocket import Server as Connection
from werkzeug.routing.exceptions import WebsocketMismatch
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import ProtocolError

from imageserver.api import authentication, errors, rate_limits
from imageserver.api.dialects.websocket import frames
from imageserver.api.dialects.websocket.arriving_message import ArrivingMessage
from imageserver.api.dialects.websocket.client_socket import ClientSocket, FrameKind, Outbox
from imageserver.api.dialects.websocket.frames import Frame, WebSocketBody
from imageserver.api.generation import previews
from imageserver.api.generation.run import GenerationRequest, GenerationResult, PendingGeneration, Update
from imageserver.api.generation.save import save_all, shown_paths, urls_of
from imageserver.api.request_context import client_address, request_id, services
from imageserver.api.services import Services
from imageserver.api.wsgi.bodies.arriving import ARRIVING_KEY
from imageserver.api.wsgi.disconnect import SOCKET_KEY
from imageserver.dispatch.client.ticket import PreviewImage
from imageserver.errors import BadRequest, Busy, Draining, ServiceError, TooManyConnections, UpgradeRequired
from imageserver.protocol.messages import Progress, Queued
from imageserver.telemetry.error_line import log_error
from imageserver.telemetry.logs import current_request
from imageserver.web_addresses import network_of

logger = logging.getLogger(__name__)

PATH = "/ws/generate"
# How often an idle connection checks whether the server is stopping, and after how long it is closed.
POLL_SECONDS = 1.0
IDLE_SECONDS = 300.0
PING_SECONDS = 25.0
# After how long a send to a client that does not read fails, normally and while the server is stopping.
SEND_SECONDS = 60.0
DRAINING_SEND_SECONDS = 5.0
# How long a client has to confirm the end of a connection.
CLOSE_SECONDS = 2.0
PREVIEW_QUALITY = 85
VERSION = "13"
# What is read before others have their turn: 64 KiB of frames of one byte take 93 ms, this much 23 ms.
RECEIVE_BYTES = 16_384

blueprint = Blueprint("websocket", __name__)
_sock = Sock()


def register(app: Flask) -> None:
    """Add the dialect to the application; frames have the size limit of bodies."""
    app.config["SOCK_SERVER_OPTIONS"] = {
        "max_message_size": app.config["MAX_CONTENT_LENGTH"],
        "ping_interval": PING_SECONDS,
        "receive_bytes": RECEIVE_BYTES,
    }
    app.register_blueprint(blueprint)
    app.register_error_handler(WebsocketMismatch, _ask_for_upgrade)


@blueprint.before_request
def prepare() -> None:
    """Give the library a socket that can send large frames, and switch compression off."""
    service = services()
    # Both here, because the view can no longer respond in HTTP.
    if not service.connections.open_websocket(client_address()):
        sentence = "This address has too many WebSockets (half of MAX_CONNECTIONS_PER_ADDRESS)."
        raise TooManyConnections(sentence, retry_after=5)
    g.websocket_of = client_address()
    request_id()
    request.environ[SOCKET_KEY] = ClientSocket(
        request.environ[SOCKET_KEY], lambda: DRAINING_SEND_SECONDS if service.draining else SEND_SECONDS
    )
    # The library would compress on the greenlet: 16 MiB of images blocked every other client for 0.5 s.
    request.environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)


@blueprint.teardown_request
def count_out(_: BaseException | None) -> None:
    """Let the client's address have another WebSocket."""
    if "websocket_of" in g:
        services().connections.close_websocket(g.websocket_of)


@_sock.route(PATH, bp=blueprint)  # type: ignore[untyped-decorator]
def generate(connection: Connection) -> None:
    """Generate images for each frame until the client disconnects."""
    # Nothing else may read from the socket: it would swallow what the client sends.
    del request.environ[SOCKET_KEY]
    client = network_of(client_address())
    message = ArrivingMessage(request.environ[ARRIVING_KEY], client, give_up=connection.sock.cut)
    connection.sock.serve(connection, message)
    session = _Session(services(), connection, request_id(), client)
    try:
        session.run()
    except ConnectionClosed:
        session.end()
    except Exception:
        # Not raised: Flask would send an HTTP response in the middle of a WebSocket.
        logger.exception("A WebSocket session failed.")
        session.end(CloseReason.INTERNAL_ERROR, "Internal server error.")
    finally:
        message.end()


@blueprint.errorhandler(ProtocolError)
@blueprint.errorhandler(UnicodeError)
def refuse_handshake(error: Exception) -> Response:
    """Return an error for an invalid WebSocket handshake."""
    if request.headers.get("Sec-WebSocket-Version", VERSION) != VERSION:
        return _ask_for_upgrade(error)
    return errors.error_response(BadRequest(f"The WebSocket handshake is invalid: {error}."), errors.native)


@blueprint.errorhandler(OSError)
@blueprint.errorhandler(HandshakeFailed)
def end_handshake(error: Exception) -> Response:
    """End the request of a client that disconnected during the handshake."""
    logger.info("The client disconnected during the handshake: %s", error)
    return Response(status=400)


def _ask_for_upgrade(_: Exception) -> Response:
    sentence = f"{PATH} needs a WebSocket, version {VERSION}: connect with ws:// and send JSON."
    response = errors.error_response(UpgradeRequired(sentence), errors.native)
    response.headers["Upgrade"] = "websocket"
    response.headers["Sec-WebSocket-Version"] = VERSION
    return response


class _RunningGeneration:
    """The generation of a session; any greenlet may cancel it."""

    def __init__(self, service: Services, number: int, body: WebSocketBody) -> None:
        self.number, self.body = number, body
        self.missed_previews = 0
        self._service = service
        self._pending: PendingGeneration | None = None
        self._is_cancelled = False

    def updates(self) -> Iterator[tuple[GenerationRequest, Update]]:
        """Yield the request with each update of its generation; raises ServiceError."""
        pending = self._pending = frames.pending_of(self._service, self.number, self.body)
        if self._is_cancelled:
            pending.cancel()
        for update in pending.updates():
            if self._is_cancelled and not isinstance(update, GenerationResult):
                self.cancel()
                continue
            yield pending.request, update

    def cancel(self) -> None:
        """Cancel it, even if it has not reached the queue yet."""
        self._is_cancelled = True
        if self._pending is not None:
            # Ends also a question to ENHANCE_URL, which the dispatcher knows nothing about.
            self._pending.cancel()
        else:
            # The dispatcher knows its number also while it waits for its model.
            self._service.client.cancel(self.number)

    def count_missed(self) -> None:
        """Count a preview that was dropped because the client was too slow."""
        self.missed_previews += 1


class _Session:
    """One connection with at most one generation at a time; its messages count as `client`'s among those that wait."""

    def __init__(self, service: Services, connection: Connection, first_number: int, client: str) -> None:
        self._service = service
        self._connection = connection
        self._outbox = Outbox(self._send)
        self._first_number: int | None = first_number
        self._client = client
        self._running: _RunningGeneration | None = None
        self._idle_for = 0.0

    def run(self) -> None:
        """Receive frames until the session or the server ends; raises ConnectionClosed when the client disconnects."""
        while True:
            message = self._connection.receive(timeout=POLL_SECONDS)
            if message is not None:
                self._receive(message)
            if self._running is not None:
                continue
            if self._service.draining:
                self._outbox.flush()
                self.end(CloseReason.GOING_AWAY, "The server is stopping.")
                return
            self._idle_for = self._idle_for + POLL_SECONDS if message is None and self._outbox.is_empty else 0.0
            if self._idle_for >= IDLE_SECONDS:
                self.end(CloseReason.NORMAL_CLOSURE, "The connection was idle.")
                return

    def end(self, code: int = CloseReason.NORMAL_CLOSURE, sentence: str | None = None) -> None:
        """Cancel the running generation and close the connection with a code and a sentence."""
        if self._running is not None:
            self._running.cancel()
        self._outbox.close()
        with contextlib.suppress(ConnectionClosed, OSError, ProtocolError):
            self._connection.close(code, sentence)
        self._connection.thread.join(CLOSE_SECONDS)
        self._connection.sock.cut()
        self._connection.thread.join(CLOSE_SECONDS)
        self._connection.input_buffer.clear()

    def _send(self, frame: Frame) -> None:
        data = frames.encode(frame)
        with self._service.waiting.added(self._client, len(data)):
            self._connection.send(data)

    def _receive(self, message: bytes) -> None:
        self._idle_for = 0.0
        try:
            frame = frames.read(message)
            if frame.get("type") != "cancel":
                self._start(frame, len(message))
            # A cancel that comes too late is not an error: the client could not know.
            elif self._running is not None:
                self._running.cancel()
        except ServiceError as error:
            # Without an id, which is a write, and below the usual level: thousands of refused frames cost a client
            # nothing.
            log_error(logger, error, logging.DEBUG)
            refusal = frames.failure(None, error)
            self._outbox.put(lambda: refusal)

    def _next_number(self) -> int:
        number, self._first_number = self._first_number, None
        if number is None:
            number = self._service.request_ids.next_id()
        current_request.set(number)
        return number

    def _start(self, frame: Frame, size: int) -> None:
        if self._running is not None:
            raise Busy("A generation is already running on this connection; cancel it, or open another connection.")
        if self._service.draining:
            raise Draining("The server is stopping.", retry_after=5)
        authentication.identify()
        body, number = frames.checked(frame), self._next_number()
        rate_limits.count_requests(1, number)
        self._service.waiting.hold(self._client, size)
        self._running = _RunningGeneration(self._service, number, body)
        # With a copy of the context, which holds the credential and the request id.
        gevent.spawn(copy_context().run, self._follow, self._running, size)

    def _follow(self, running: _RunningGeneration, size: int) -> None:
        """Run a generation of a message of `size` bytes and send its frames, in a greenlet of its own."""
        try:
            last = self._send_updates(running)
        except ServiceError as error:
            log_error(logger, error)
            last = frames.failure(running.number, error)
        except ConnectionClosed:
            running.cancel()
            return
        except Exception:
            logger.exception("The generation failed.")
            last = frames.failure(running.number, ServiceError())
        finally:
            self._service.waiting.release(self._client, size)
        try:
            self._outbox.put(lambda: self._last(running, last))
        except ConnectionClosed:
            logger.info("The client disconnected before its result.")

    def _send_updates(self, running: _RunningGeneration) -> Frame:
        """Send the updates of a generation; return the frame of its result."""
        number, put = running.number, self._outbox.put
        for generation_request, update in running.updates():
            match update:
                case Queued():
                    put(partial(frames.queued, number, update), FrameKind.PROGRESS)
                case Progress():
                    put(partial(frames.progress, number, update), FrameKind.PROGRESS)
                case PreviewImage():
                    put(partial(self._preview, generation_request, update), FrameKind.PREVIEW, running.count_missed)
                case GenerationResult():
                    return self._result(running, update)
        raise AssertionError("The updates end with the result.")

    def _last(self, running: _RunningGeneration, frame: Frame) -> Frame:
        # Before the frame is sent: the client may send its next request at once.
        self._running = None
        if running.missed_previews and frame["type"] == "result":
            frame["data"]["warnings"].append(
                f"{running.missed_previews} previews were dropped: the connection was too slow."
            )
        return frame

    def _preview(self, generation_request: GenerationRequest, preview_image: PreviewImage) -> Frame:
        image = previews.encoded_preview(self._service, generation_request, preview_image, jpeg_quality=PREVIEW_QUALITY)
        return frames.preview(generation_request.number, preview_image.preview, image)

    def _result(self, running: _RunningGeneration, result: GenerationResult) -> Frame:
        images = [self._service.thread_pool.run(base64.b64encode, data).decode() for data in result.files]
        frame = frames.result(result, images)
        if running.body.save_to_file:
            names = save_all(self._service, result)
            shown, urls = shown_paths(self._service, names), urls_of(names)
            frame["data"] |= {"file_path": shown[0], "url": urls[0], "urls": urls}
        return frame
