"""Every failure a client can meet, each with its HTTP status and a stable code.

Raised anywhere, carried between processes as `messages.Failure`, and turned into a dialect's envelope by
`api/errors.py` alone.
"""


class ServiceError(Exception):
    """The server failed; its log has the details under the request id.

    `param` names the wrong field, `retry_after` is in seconds.
    """

    status = 500
    code = "internal_error"

    def __init__(
        self,
        sentence: str = "Internal server error; the server's log has the details under this request id.",
        *,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.param = param
        self.retry_after = retry_after


class BadRequest(ServiceError):
    """The request cannot be parsed, or lacks something it needs."""

    status, code = 400, "bad_request"


class InvalidParameter(ServiceError):
    """A field has a value outside its limits."""

    status, code = 422, "invalid_parameter"


class Unauthorized(ServiceError):
    """The request carries no key that this server accepts."""

    status, code = 401, "unauthorized"


class Forbidden(ServiceError):
    """The key's owner is known but may not use this server or this address."""

    status, code = 403, "forbidden"


class AdminRequired(ServiceError):
    """The request needs a key with the role admin."""

    status, code = 403, "admin_required"


class ForeignOrigin(ServiceError):
    """A web page of another origin sent the request."""

    status, code = 403, "foreign_origin"


class ForeignHost(ServiceError):
    """The request names a host that is not this server's."""

    status, code = 421, "foreign_host"


class NotFound(ServiceError):
    """The requested resource does not exist."""

    status, code = 404, "not_found"


class ModelNotFound(ServiceError):
    """The request names a model that is not served."""

    status, code = 404, "model_not_found"


class ModelUnloadable(ServiceError):
    """The requested model is known but cannot be loaded: files are damaged or missing, or memory is short."""

    status, code = 422, "model_unloadable"


class Busy(ServiceError):
    """The connection is already generating, or running generations use the model that should be unloaded."""

    status, code = 409, "busy"


class Gone(ServiceError):
    """The requested resource no longer exists."""

    status, code = 410, "gone"


class BodyTooLarge(ServiceError):
    """The request body is over the limit."""

    status, code = 413, "body_too_large"


class BodyTooSlow(ServiceError):
    """The request body did not arrive in time."""

    status, code = 408, "body_too_slow"


class UpgradeRequired(ServiceError):
    """The address needs another protocol."""

    status, code = 426, "upgrade_required"


class QueueFull(ServiceError):
    """The queue is full."""

    status, code = 429, "queue_full"


class TooManyConnections(ServiceError):
    """The client's address has as many connections as one address may have."""

    status, code = 429, "too_many_connections"


class RateLimited(ServiceError):
    """The client has sent too many requests in a minute."""

    status, code = 429, "rate_limited"


class QuotaExceeded(ServiceError):
    """The client has used up its device seconds of the hour or day."""

    status, code = 429, "quota_exceeded"


class WouldTimeOut(ServiceError):
    """The images cannot be ready within the time that the client waits."""

    status, code = 429, "would_time_out"


class Cancelled(ServiceError):
    """The client disconnected or cancelled; the status is nginx's and appears in logs only."""

    status, code = 499, "cancelled"


class GenerationFailed(ServiceError):
    """The pipeline failed through no fault of the client."""

    status, code = 500, "generation_failed"


class Loading(ServiceError):
    """The model is not ready yet."""

    status, code = 503, "loading"


class Draining(ServiceError):
    """The server is stopping."""

    status, code = 503, "draining"


class HubUnavailable(ServiceError):
    """The hub that verifies tokens cannot be reached."""

    status, code = 503, "hub_unavailable"


class EngineUnavailable(ServiceError):
    """No engine is running, or it died during the job."""

    status, code = 503, "engine_unavailable"


class StorageUnavailable(ServiceError):
    """The store of saved images cannot be reached."""

    status, code = 503, "storage_unavailable"


class DeadlineExceeded(ServiceError):
    """The request's time limit has passed."""

    status, code = 504, "deadline_exceeded"


class StorageFull(ServiceError):
    """An image could not be written."""

    status, code = 507, "storage_full"


class OutOfMemory(ServiceError):
    """The device has too little memory for the generation."""

    status, code = 507, "out_of_memory"


_ALL: list[type[ServiceError]] = [ServiceError, *ServiceError.__subclasses__()]
BY_CODE = {error.code: error for error in _ALL}
