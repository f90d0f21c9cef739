"""The command line: `serve` and `generate`. Process: the one that the user starts.

May import everything; nothing imports it but the entry.
"""
