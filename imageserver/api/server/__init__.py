"""The server's own routes: health, jobs, models, LoRAs and the OpenAPI document.

Process: HTTP worker. May import `generation`, `inputs` and everything below them, but no dialect.
"""
