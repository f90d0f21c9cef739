"""Logs, metrics and traces. Process: every one logs; the HTTP workers serve the metrics and make the traces.

Which process measures what, each thing in one place alone:
- An HTTP worker: a request from its arrival to its end, its first preview, the encoding of its images, where they came
  from (`api/generation/request_times.py`), refusals (`api/measuring.py`), webhooks (`api/dialects/tasks/webhooks.py`).
- The dispatcher: a job's time in the queue, its steps and stages, its batch, the device seconds of its key
  (`dispatch/measuring/`), how long models load, and the gauges of its snapshot.
- An engine: nothing of these metrics; it reports the times of a job and its device with its messages.
Every second or so a worker sends the dispatcher what it counted (`dispatch/client/measurement_link.py`); there it is
added up, so that every worker serves the same `/metrics` and one that ends takes nothing along.

May import the protocol and the modules beside this package.
"""
