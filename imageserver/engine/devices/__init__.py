"""The device, its memory, and the measurements made on it. Process: engine. May import `pipelines` and below."""
