"""The step scheduler: which step is next, and which denoiser calls share a forward. Process: engine.

May import `caching` and below, not `models`.
"""
