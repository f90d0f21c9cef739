"""Everything that touches torch and diffusers. Process: engine, one per device.

May import `telemetry`, `protocol` and the modules below them, but neither Flask nor gevent. No other package imports
torch.
"""
