"""HTTP below the views: timeouts, disconnects, headers, event streams, native threads. Process: HTTP worker.

Knows nothing of images, and no other room of the API.
"""
