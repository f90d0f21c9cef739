"""The device: which one, its memory, and what was measured on it. Process: engine. May import `pipelines` and below."""
