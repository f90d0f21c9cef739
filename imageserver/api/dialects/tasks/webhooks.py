"""Deliver the webhooks of tasks that have ended, from whichever worker comes first, until they are taken."""

import logging
import time

import gevent
from flask import Flask, json
from gevent.pool import Pool

from imageserver.api.dialects.tasks.statuses import status_of
from imageserver.api.outbound.webhooks import MAX_SECONDS, WebhookFailed, WebhookSender
from imageserver.api.request_context import EXTENSION
from imageserver.api.services import Services
from imageserver.errors import ServiceError
from imageserver.outputs.webhook_store import Webhook
from imageserver.telemetry.logs import current_request

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
# Seconds between one attempt and the next: a receiver that is being restarted, or away for a quarter of an hour.
RETRY_SECONDS = (1.0, 5.0, 30.0, 180.0, 900.0)
# A worker that dies with one leaves it to the others, or to the next start, when no attempt can still be under way.
LEASE = MAX_SECONDS + 5.0
# Slow receivers must not keep all others waiting.
MAX_CONCURRENT = 16


def start(app: Flask) -> None:
    """Deliver from now on, where the owner wants webhooks."""
    service: Services = app.extensions[EXTENSION]
    if service.webhooks is not None:
        gevent.spawn(_deliver_for_ever, app, service, service.webhooks)


def _deliver_for_ever(app: Flask, service: Services, sender: WebhookSender) -> None:
    under_way = Pool(MAX_CONCURRENT)
    while True:
        gevent.sleep(POLL_SECONDS)
        if service.draining or not under_way.free_count():
            continue
        try:
            due = service.webhook_store.claim(time.time(), lease=LEASE, most=under_way.free_count())
        except ServiceError as error:
            logger.error("Webhooks cannot be delivered: %s", error.sentence)
            continue
        for webhook in due:
            under_way.spawn(_deliver, app, service, sender, webhook)


def _deliver(app: Flask, service: Services, sender: WebhookSender, webhook: Webhook) -> None:
    try:
        _attempt(app, service, sender, webhook)
    except ServiceError as error:
        # What is not written down is tried again when its lease is over.
        logger.error("A webhook cannot be delivered: %s", error.sentence)
    except Exception:
        logger.exception("A webhook cannot be delivered.")


def _attempt(app: Flask, service: Services, sender: WebhookSender, webhook: Webhook) -> None:
    task, store = service.tasks.find(webhook.task_id, ""), service.webhook_store
    if task is None or task.state == "expired":
        return
    current_request.set(task.number)
    if webhook.attempts > len(RETRY_SECONDS) + 1:
        store.give_up(webhook.task_id, error=webhook.error or "The server ended during every attempt.")
        return
    # Addresses of images are those that the client would be told.
    with app.test_request_context(base_url=webhook.site):
        body = json.dumps(status_of(service, task)).encode()
    try:
        sender.send(webhook.url, body, webhook_id=webhook.task_id)
    except WebhookFailed as error:
        if webhook.attempts > len(RETRY_SECONDS):
            logger.error("The webhook of task %s is given up: %s", webhook.task_id, error)
            store.give_up(webhook.task_id, error=str(error))
        else:
            pause = RETRY_SECONDS[webhook.attempts - 1]
            logger.warning("The webhook of task %s is tried again in %d s: %s", webhook.task_id, pause, error)
            store.postpone(webhook.task_id, due=time.time() + pause, error=str(error))
    else:
        logger.info("The webhook of task %s was delivered.", webhook.task_id)
        store.deliver(webhook.task_id)
