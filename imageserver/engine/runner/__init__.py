"""One generation on one pipeline: its call, LoRAs, ControlNet and safety check. Process: engine.

May import `families` and below.
"""
