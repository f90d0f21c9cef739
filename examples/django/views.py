"""A Django view that generates an image from a form: `path("images/", views.image)` in your urls.py.

It retries while the image server is busy or restarting; any other failure becomes one sentence for the user.

Settings: IMAGE_SERVER_URL (http://localhost:5000), IMAGE_SERVER_KEY (only where the server has API_KEYS) and
IMAGE_SERVER_TIMEOUT (seconds that one answer may take).
"""

import uuid

import requests
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_POST
from requests.adapters import HTTPAdapter
from urllib3.response import BaseHTTPResponse
from urllib3.util import Retry

MAX_RETRY_AFTER_SECONDS = 60


class ShortRetry(Retry):
    """Obeys a Retry-After of up to a minute: no worker sleeps for the hour that a download takes."""

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        seconds = super().get_retry_after(response)
        return None if seconds is None or seconds > MAX_RETRY_AFTER_SECONDS else seconds


# The queue is full or the model is loading (the server says when to retry), or the server is briefly unreachable.
RETRY = ShortRetry(
    total=4,
    # An answer that took too long would take as long again, five times in all.
    read=False,
    status_forcelist=(429, 503),
    allowed_methods={"POST"},
    backoff_factor=0.5,
    respect_retry_after_header=True,
    raise_on_status=False,
)


class ImageFailed(Exception):
    """The image failed; the message is a sentence for the user, `status` an HTTP status, `field` the wrong field."""

    def __init__(self, sentence: str, status: int, field: str | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.field = field


def generate(prompt: str, **parameters: object) -> tuple[bytes, dict[str, str]]:
    """Return the PNG bytes and the headers that say how it was generated; raises ImageFailed."""
    # A repeated request with the same key joins the running generation instead of starting another one.
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    key = getattr(settings, "IMAGE_SERVER_KEY", "")
    if key:
        headers["Authorization"] = f"Bearer {key}"
    url = getattr(settings, "IMAGE_SERVER_URL", "http://localhost:5000")
    timeout = getattr(settings, "IMAGE_SERVER_TIMEOUT", 120)
    with requests.Session() as session:
        session.mount(url, HTTPAdapter(max_retries=RETRY))
        try:
            answer = session.post(
                f"{url}/generate", json={"prompt": prompt, **parameters}, headers=headers, timeout=(5, timeout)
            )
        except requests.Timeout:
            raise ImageFailed("The image took too long; try a smaller one.", 504) from None
        except requests.RequestException:
            raise ImageFailed("The image server cannot be reached.", 502) from None
    if answer.ok:
        return answer.content, dict(answer.headers)
    try:
        error = answer.json()
        raise ImageFailed(error["error"], answer.status_code, error.get("param"))
    except (ValueError, KeyError):
        raise ImageFailed(f"The image server answered {answer.status_code}.", 502) from None


@require_POST
def image(request: HttpRequest) -> HttpResponse:
    """Return an image of the form's `prompt`, or the failure as JSON."""
    prompt = request.POST.get("prompt", "").strip()
    if not prompt:
        return JsonResponse({"error": "Enter a prompt.", "field": "prompt"}, status=400)
    try:
        data, made = generate(prompt, aspect_ratio=request.POST.get("aspect_ratio", "s1:1"), seed=None)
    except ImageFailed as error:
        return JsonResponse({"error": str(error), "field": error.field}, status=error.status)
    response = HttpResponse(data, content_type="image/png")
    response["X-Seed"] = made["X-Seed"]
    return response
