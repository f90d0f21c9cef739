"""Logs and metrics. May import the vocabulary."""
