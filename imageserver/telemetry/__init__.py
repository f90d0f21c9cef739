"""Logs and metrics. Process: every one logs; the HTTP workers serve the metrics.

May import the protocol and the modules beside this package.
"""
