"""Logs, metrics and traces. Process: every one logs; the HTTP workers serve the metrics and make the traces.

May import the protocol and the modules beside this package.
"""
