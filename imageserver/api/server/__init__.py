"""The server's own pages: health, jobs, models, LoRAs, the OpenAPI document. Process: HTTP worker."""
