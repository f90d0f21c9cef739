"""Logs, and later metrics and traces. May import the vocabulary."""
