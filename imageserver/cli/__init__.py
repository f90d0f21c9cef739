"""The command line: `serve` and `generate`.

Process: the one that the user starts. May import everything but `engine`; only the entry imports it.
"""
