"""Generations over a WebSocket."""
