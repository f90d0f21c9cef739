"""Generations over a WebSocket.

Process: HTTP worker. May import what `imageserver.api.dialects` may.
"""
