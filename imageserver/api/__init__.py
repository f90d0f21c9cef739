"""Speaks HTTP: one file per dialect, nothing but translation, and what all dialects share (errors, ids, limits).

May import every room below. Views translate and never decide; dialects never import each other. Nothing slow runs on
a greenlet here: pixels go through the native pool.
"""
