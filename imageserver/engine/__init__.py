"""Everything that touches torch and diffusers; runs in its own process, one per device.

May import the vocabulary. Knows neither HTTP nor gevent, and nothing outside this room imports torch.
"""
