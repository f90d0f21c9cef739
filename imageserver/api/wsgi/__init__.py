"""HTTP below the views: timeouts, disconnects, headers, event streams, native threads, request ids.

Process: HTTP worker. May import errors, settings and telemetry, but no other package of the API; knows no images.
"""
