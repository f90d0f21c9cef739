"""Generate one image from the command line, with a dispatcher and an engine of its own."""

import argparse
import json
import os
import secrets
import sys

from tqdm import tqdm

from imageserver.api.inputs import generate_request
from imageserver.api.output_options import OutputOptions, encode_images
from imageserver.dispatch.client import launch
from imageserver.dispatch.client.client import DispatchClient
from imageserver.dispatch.client.runtime_dir import RuntimeDir
from imageserver.dispatch.client.ticket import Image
from imageserver.errors import InvalidParameter, ServiceError
from imageserver.generation import OutputFormat
from imageserver.protocol.messages import Progress, Submit
from imageserver.settings.source import load_settings

# How often the wait for an update is interrupted to handle Ctrl+C.
POLL_SECONDS = 1.0

FORMATS: dict[str, OutputFormat] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}


def generate(arguments: argparse.Namespace) -> int:
    """Generate, write the file, and return the exit status; every error is one sentence."""
    settings = load_settings()
    runtime_dir = RuntimeDir(os.getpid())
    client = DispatchClient(settings, runtime_dir)
    try:
        output_format = FORMATS.get(arguments.output.suffix.lower())
        if output_format is None:
            raise InvalidParameter(f"--output {arguments.output} must end in {', '.join(FORMATS)}.", param="output")
        names = vars(arguments).keys() & generate_request.GenerateBody.model_fields.keys()
        body = generate_request.parse({name: getattr(arguments, name) for name in names}, settings)
        generation, _ = generate_request.resolve(body, settings, None)
        client.start()
        ticket = client.submit(
            Submit(job=secrets.randbits(31), generation=generation, timeout=settings.request_timeout)
        )
        with tqdm(total=generation.steps, desc="steps", unit="step", disable=not sys.stderr.isatty()) as bar:
            for update in ticket.updates(pause=POLL_SECONDS):
                if isinstance(update, Progress):
                    bar.update(update.step - bar.n)
        assert isinstance(update, Image)
        info = client.snapshot.info if client.snapshot else None
        options = OutputOptions(
            output_format, None, None if arguments.no_overlay else body.aspect_ratio_name, settings.font_path
        )
        data = encode_images(update, generation, info, options)[0]
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        arguments.output.write_bytes(data)
        print(
            json.dumps({"file": str(arguments.output), "seed": generation.seed, "model": info.name if info else None})
        )
        return 0
    except ServiceError as error:
        print(error.sentence, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{arguments.output} cannot be written: {error.strerror or error}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        client.close()
        launch.stop(runtime_dir)
