"""AUTOMATIC1111's API under /sdapi/v1.

Process: HTTP worker. May import what `imageserver.api.dialects` may.
"""
