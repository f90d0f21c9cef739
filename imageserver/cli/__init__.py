"""The command line: `serve`, `generate` and `doctor`.

Process: the one that the user starts. May import everything but `engine`; only the entry imports it.
"""
