"""The Flask application: creates every long-lived object of one HTTP worker and wires them together."""

import contextlib
import os

from flask import Flask

from imageserver import startup
from imageserver.api import routes
from imageserver.api.addresses.links import Links
from imageserver.api.credentials.accepted_keys import AcceptedKeys
from imageserver.api.credentials.accepted_secrets import AcceptedSecrets
from imageserver.api.credentials.key_file_watch import KeyFileWatch
from imageserver.api.credentials.secret_file import PROVENANCE_SECRET
from imageserver.api.credentials.signing_certificate import open_reader, open_worker_signer
from imageserver.api.credentials.url_signer import read_signer
from imageserver.api.dialects.tasks import runner
from imageserver.api.dialects.tasks import webhooks as task_webhooks
from imageserver.api.inputs.form_parser import FormRequest
from imageserver.api.page.styles import read_styles
from imageserver.api.request_context import EXTENSION
from imageserver.api.server.gallery import upkeep
from imageserver.api.services import Services, import_imaging
from imageserver.api.wsgi import large_blocks
from imageserver.api.wsgi.connections import Connections
from imageserver.api.wsgi.memory_budget import MemoryBudget
from imageserver.api.wsgi.request_ids import RequestIds
from imageserver.api.wsgi.thread_pool import ThreadPool
from imageserver.dispatch.client.client import DispatchClient
from imageserver.dispatch.client.measurement_link import MeasurementLink
from imageserver.dispatch.client.runtime_dir import RuntimeDir, process_lives
from imageserver.generation import ModelInfo
from imageserver.imaging.provenance.sealing import Sealer
from imageserver.lora_folder import open_folder
from imageserver.outputs.cache import OutputCache
from imageserver.outputs.gallery.opening import open_gallery, open_thumbnails
from imageserver.outputs.opening import open_outputs
from imageserver.outputs.task_store import TaskStore
from imageserver.outputs.webhook_store import WebhookStore
from imageserver.settings import Settings
from imageserver.telemetry.logs import configure_logging
from imageserver.telemetry.metric_registry import MetricRegistry
from imageserver.telemetry.tracing.opening import open_tracing
from imageserver.web_addresses import TrustedProxies

# They wait for a disk or a store: more than there are cores do no harm.
STORAGE_THREADS = 16


def create_app(settings: Settings, owner: int, secrets: AcceptedSecrets | None = None) -> Flask:
    """Build the application; the dispatcher ends when the process `owner` ends.

    `secrets` are those of a server whose other workers have them too; without them they are read.
    """
    secrets = secrets or AcceptedSecrets()
    configure_logging(settings)
    app = Flask("qwen_image_server", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = int(settings.max_body_mb * 2**20)
    app.request_class = FormRequest
    runtime_dir = RuntimeDir(owner)

    def announce(info: ModelInfo) -> None:
        if runtime_dir.is_first_to_announce():
            startup.say(startup.banner(settings, info))

    def serves() -> bool:
        return not services.draining and process_lives(owner)

    large_blocks.return_when_free()
    # These import requests, which takes 0.1 s, so only if the settings need them.
    huggingface_tokens = webhooks = prompt_endpoint = None
    if settings.hf_auth != "off":
        from imageserver.api.credentials.huggingface_tokens import read_huggingface_tokens

        huggingface_tokens = read_huggingface_tokens(settings)
    if settings.webhook_secret:
        from imageserver.api.outbound.webhooks import read_webhooks

        webhooks = read_webhooks(settings)
    if settings.enhance_url:
        from imageserver.api.outbound.prompt_endpoint import read_prompt_endpoint

        prompt_endpoint = read_prompt_endpoint(settings)
    # Of versions that kept the attempts of clients in a table of their own.
    for file in settings.resolve(settings.state_dir).glob("attempts.sqlite*"):
        with contextlib.suppress(OSError):
            file.unlink()
    signer, signer_problem = open_worker_signer(settings)
    key_file_watch = KeyFileWatch(settings, AcceptedKeys(runtime_dir.keys_file(settings.api_keys_file)), serves)
    proxies = TrustedProxies(settings.trusted_proxies)
    client, measurements = DispatchClient(settings, runtime_dir, on_ready=announce), MetricRegistry()
    services = Services(
        settings=settings,
        waiting=routes.register(app, settings),
        client=client,
        outputs=open_outputs(settings, runtime_dir.store_socket(os.getpid())),
        cache=OutputCache(settings.resolve(settings.state_dir) / "answers", max_mb=settings.cache_max_mb),
        gallery=open_gallery(settings),
        thumbnails=open_thumbnails(settings),
        thread_pool=ThreadPool(settings.threads, prepare=import_imaging),
        storage_threads=ThreadPool(STORAGE_THREADS),
        decoding_memory=MemoryBudget(int(settings.max_decode_mb * 2**20) // settings.workers),
        request_ids=RequestIds(settings.resolve(settings.state_dir)),
        tasks=TaskStore(
            settings.resolve(settings.state_dir),
            ttl=settings.task_ttl,
            max_ended=settings.max_ended_tasks,
            max_mb=settings.state_max_mb,
        ),
        webhook_store=WebhookStore(settings.resolve(settings.state_dir)),
        webhooks=webhooks,
        keyring=key_file_watch.keyring,
        url_signer=read_signer(settings, secrets),
        sealer=Sealer(secrets.read(settings, PROVENANCE_SECRET)),
        signer=signer,
        signer_problem=signer_problem,
        manifest_reader=open_reader(signer),
        huggingface_tokens=huggingface_tokens,
        loras=open_folder(settings),
        connections=Connections(settings.max_connections_per_address, proxies),
        proxies=proxies,
        links=Links(settings),
        styles=read_styles(settings),
        measurements=measurements,
        measurement_link=MeasurementLink(client, measurements),
        tracing=open_tracing(settings),
        prompt_endpoint=prompt_endpoint,
    )
    app.extensions[EXTENSION] = services
    services.start()
    key_file_watch.start()
    upkeep.start(services)
    runner.start(app)
    task_webhooks.start(app)
    return app
