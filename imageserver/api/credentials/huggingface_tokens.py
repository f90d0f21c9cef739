"""Hugging Face tokens as keys: the Hub names a token's owner, and the result is cached for some minutes.

Tokens are neither stored nor logged; a result is cached under the hash of its token, in this process only. Source: the
Hub's `/api/whoami-v2`.
"""

import contextlib
import hashlib
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import gevent
import requests
from requests.auth import AuthBase

from imageserver import __version__
from imageserver.errors import Forbidden, HubUnavailable, ServiceError
from imageserver.settings import Settings

logger = logging.getLogger(__name__)

WHOAMI = "/api/whoami-v2"
# Nothing else is sent to the Hub: a mistyped API key must not leave this server.
TOKEN = re.compile(r"(?:hf_|api_org_)[\x21-\x7e]{1,4000}")
# Names in API_KEYS have no colon, so a Hub user name can never equal one.
PREFIX = "hf:"
NAME = re.compile(r"[A-Za-z0-9._-]{1,96}")
# For the connection and for each chunk of the response; then for the whole request.
TIMEOUT_SECONDS = (3.0, 5.0)
MAX_SECONDS = 5.0
# How long the result for a valid and for a wrong token is cached.
VALID_SECONDS = 300.0
WRONG_SECONDS = 60.0
# Retry-After if the Hub sends none.
RETRY_AFTER_SECONDS = 5.0
MAX_RETRY_AFTER_SECONDS = 120.0
MAX_CACHED = 4096
MAX_CONCURRENT = 16


@dataclass(frozen=True)
class TokenCheck:
    """The Hub's result for a token: its owner, None for a wrong one, or why it gives no access to this server."""

    owner: str | None = None
    refusal: str | None = None


class HuggingFaceTokens:
    """Asks the Hub for a token's owner, once for all requests that use the token."""

    def __init__(
        self, endpoint: str, users: Iterable[str], *, read_only: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Allow only `users`, the names of Hub users and organisations; none allows everyone."""
        self._address = endpoint.rstrip("/") + WHOAMI
        self._users = {user.lower() for user in users}
        self._read_only = read_only
        self._clock = clock
        self._cached: OrderedDict[bytes, tuple[TokenCheck, float]] = OrderedDict()
        self._running: dict[bytes, gevent.Greenlet] = {}

    def owner_of(self, token: str) -> str | None:
        """Return the credential of a token, or None if it is not a valid Hub token.

        Waits up to 5 s, on a greenlet. Raises Forbidden for a token without access to this server, and
        HubUnavailable while the Hub cannot be reached.
        """
        if not TOKEN.fullmatch(token):
            return None
        digest = hashlib.sha256(token.encode()).digest()
        check, until = self._cached.get(digest, (None, 0.0))
        if check is None or self._clock() >= until:
            check = self._join(digest, token)
        if check.refusal is not None:
            raise Forbidden(check.refusal)
        return None if check.owner is None else PREFIX + check.owner

    def _join(self, digest: bytes, token: str) -> TokenCheck:
        """Return the Hub's result; concurrent requests with the same token share one request to the Hub."""
        request = self._running.get(digest)
        if request is None:
            if len(self._running) >= MAX_CONCURRENT:
                raise HubUnavailable("Too many new tokens are being checked.", retry_after=1)
            request = self._running[digest] = gevent.spawn(self._ask, digest, token)
        outcome: TokenCheck | ServiceError = request.get()
        if isinstance(outcome, ServiceError):
            raise outcome
        return outcome

    def _ask(self, digest: bytes, token: str) -> TokenCheck | ServiceError:
        """Ask the Hub and cache the result; an error is returned, because gevent prints what a greenlet raises."""
        try:
            check: TokenCheck | None = gevent.with_timeout(MAX_SECONDS, self._request, token, timeout_value=None)
            if check is None:
                raise _unavailable(f"no answer in {MAX_SECONDS:g} s")
            self._store(digest, check)
        except ServiceError as error:
            logger.warning("%s", error.sentence)
            return error
        else:
            return check
        finally:
            del self._running[digest]

    def _store(self, digest: bytes, check: TokenCheck) -> None:
        valid = check.owner is not None or check.refusal is not None
        self._cached[digest] = (check, self._clock() + (VALID_SECONDS if valid else WRONG_SECONDS))
        self._cached.move_to_end(digest)
        while len(self._cached) > MAX_CACHED:
            self._cached.popitem(last=False)

    def _request(self, token: str) -> TokenCheck:
        try:
            # No redirects: the token is for the Hub only.
            response = requests.get(
                self._address, auth=_Bearer(token), timeout=TIMEOUT_SECONDS, allow_redirects=False,
                headers={"User-Agent": f"qwen-image-server/{__version__}"},
            )  # fmt: skip
            if response.status_code in (401, 403):
                return TokenCheck()
            if response.status_code != 200:
                raise _unavailable(f"it returned {response.status_code}", _pause_of(response))
            return self._evaluate(response.json())
        except (requests.RequestException, OSError, TypeError, ValueError) as error:
            # The text of the error may quote the request.
            raise _unavailable(type(error).__name__) from None

    def _evaluate(self, content: Any) -> TokenCheck:
        """Return the result in the Hub's response; raises ValueError if it is malformed."""
        if not isinstance(content, dict) or not NAME.fullmatch(str(content.get("name", ""))):
            raise ValueError
        name = str(content["name"])
        groups = {str(group.get("name", "")).lower() for group in content.get("orgs") or [] if isinstance(group, dict)}
        if self._users and not self._users & {name.lower(), *groups}:
            return TokenCheck(refusal="This Hugging Face account has no access to this server (HF_USERS).")
        if self._read_only and not _only_reads(content):
            sentence = "This Hugging Face token can write; this server accepts only read tokens (HF_AUTH)."
            return TokenCheck(refusal=sentence)
        return TokenCheck(owner=name)


def read_huggingface_tokens(settings: Settings) -> HuggingFaceTokens:
    """Return the checker of Hub tokens that the settings describe."""
    users = [user.strip() for user in settings.hf_users.split(",") if user.strip()]
    return HuggingFaceTokens(settings.hf_endpoint, users, read_only=settings.hf_auth == "read")


class _Bearer(AuthBase):
    """Sends the token; without it, requests would send the token in ~/.netrc, and everyone would be its owner."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _only_reads(content: Mapping[str, Any]) -> bool:
    """Return whether a token is read-only at the Hub: its role is `read`, or each of its permissions is."""
    token = _part(_part(content, "auth"), "accessToken")
    if token.get("role") != "fineGrained":
        return bool(token.get("role") == "read")
    grants = _part(token, "fineGrained")
    granted = [*(grants.get("global") or [])]
    for scope in grants.get("scoped") or []:
        granted += scope.get("permissions") or [] if isinstance(scope, dict) else [""]
    return all(str(permission).endswith(".read") for permission in granted)


def _part(whole: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = whole.get(name)
    return part if isinstance(part, dict) else {}


def _unavailable(reason: str, retry_after: float = RETRY_AFTER_SECONDS) -> HubUnavailable:
    return HubUnavailable(f"The Hugging Face Hub cannot check the token: {reason}.", retry_after=retry_after)


def _pause_of(response: requests.Response) -> float:
    """Return the Hub's Retry-After in seconds, within limits."""
    with contextlib.suppress(ValueError):
        return min(MAX_RETRY_AFTER_SECONDS, max(1.0, float(response.headers.get("Retry-After", RETRY_AFTER_SECONDS))))
    return RETRY_AFTER_SECONDS
