"""One generation on one pipeline: its call, its LoRAs, its ControlNet, its safety check. Process: engine.

May import `families` and below.
"""
