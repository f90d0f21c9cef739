"""The OpenAI Images API.

Process: HTTP worker. May import what `imageserver.api.dialects` may.
"""
