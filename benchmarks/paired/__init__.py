"""Servers that are compared request by request: they take turns, and a difference has its interval."""
