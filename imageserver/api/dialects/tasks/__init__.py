"""Asynchronous tasks."""
