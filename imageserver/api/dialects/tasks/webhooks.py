"""Send the webhooks of tasks that have ended until their receivers accept them; any worker may send any webhook."""

import logging
import time

import gevent
from flask import Flask, json

from imageserver.api.dialects.tasks.statuses import status_of
from imageserver.api.dialects.tasks.webhook_shares import MAX_TO_A_HOST, WebhookShares
from imageserver.api.outbound.webhooks import MAX_SECONDS, WebhookFailed, WebhookSender
from imageserver.api.request_context import EXTENSION
from imageserver.api.services import Services
from imageserver.errors import ServiceError
from imageserver.outputs.webhook_store import DueWebhook, Webhook
from imageserver.telemetry.instruments import WEBHOOKS
from imageserver.telemetry.logs import current_credential, current_request, current_trace

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
# Between the attempts: enough for a receiver that restarts, or is down for a quarter of an hour.
RETRY_SECONDS = (1.0, 5.0, 30.0, 180.0, 900.0)
# If a worker dies during an attempt, another one, or the next start, retries after this time.
LEASE_SECONDS = MAX_SECONDS + 5.0


def start(app: Flask) -> None:
    """Start sending in the background, if webhooks are switched on."""
    service: Services = app.extensions[EXTENSION]
    if service.webhooks is not None:
        gevent.spawn(_send_forever, app, service, service.webhooks)


def _send_forever(app: Flask, service: Services, sender: WebhookSender) -> None:
    shares = WebhookShares()
    while True:
        gevent.sleep(POLL_SECONDS)
        if service.draining or shares.are_all_taken:
            continue
        try:
            due = service.webhook_store.due(time.time(), most_of_a_host=MAX_TO_A_HOST)
        except ServiceError as error:
            logger.error("Webhooks cannot be sent: %s", error.sentence)
            continue
        for webhook in due:
            if shares.acquire(webhook):
                gevent.spawn(_send, app, service, sender, webhook).link(lambda _, sent=webhook: shares.release(sent))


def _send(app: Flask, service: Services, sender: WebhookSender, due: DueWebhook) -> None:
    current_request.set(due.number)
    current_credential.set(due.credential)
    current_trace.set(due.trace_id)
    try:
        webhook = service.webhook_store.claim(due, time.time(), lease=LEASE_SECONDS)
        if webhook is not None:
            _attempt(app, service, sender, webhook)
    except ServiceError as error:
        # Its state was not stored, so it is retried when the lease ends.
        logger.error("A webhook cannot be sent: %s", error.sentence)
    except Exception:
        logger.exception("A webhook cannot be sent.")


def _attempt(app: Flask, service: Services, sender: WebhookSender, webhook: Webhook) -> None:
    task, store = service.tasks.find(webhook.task_id, ""), service.webhook_store
    if task is None or task.state == "expired":
        return
    if webhook.attempts > len(RETRY_SECONDS) + 1:
        _abandon(service, webhook, webhook.error or "The server stopped during every attempt.")
        return
    # The addresses of images are the same as in GET /status.
    with app.test_request_context(base_url=webhook.site):
        body = json.dumps(status_of(service, task)).encode()
    try:
        sender.send(webhook.url, body, webhook_id=webhook.task_id)
    except WebhookFailed as error:
        if webhook.attempts > len(RETRY_SECONDS):
            _abandon(service, webhook, str(error))
        else:
            pause = RETRY_SECONDS[webhook.attempts - 1]
            logger.warning("The webhook of task %s is retried in %d s: %s", webhook.task_id, pause, error)
            store.postpone(webhook.task_id, due=time.time() + pause, error=str(error))
            service.measurements.count(WEBHOOKS, "retried")
    else:
        logger.info("The webhook of task %s was accepted.", webhook.task_id)
        store.deliver(webhook.task_id)
        service.measurements.count(WEBHOOKS, "delivered")


def _abandon(service: Services, webhook: Webhook, error: str) -> None:
    logger.error("The webhook of task %s failed for good: %s", webhook.task_id, error)
    service.webhook_store.give_up(webhook.task_id, error=error)
    service.measurements.count(WEBHOOKS, "abandoned")
