"""Several cards behind one engine: rank 0 generates, the other ranks compute forwards for it. Process: engine.

Only rank 0 has pipelines, jobs and clients. The other ranks (`engine/rank`) hold the denoiser alone. What is asked of
them travels over a Unix socket, tensors from card to card. May import `devices` and below.
"""
