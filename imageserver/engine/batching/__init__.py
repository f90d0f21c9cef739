"""Whose step is next and which calls share a forward. Process: engine.

May import `caching` and below; knows no loading.
"""
