"""The command line: `serve`, `generate`, `doctor` and `mcp`.

Process: the one that the user starts. May import everything but `engine`; only the entry imports it.
"""
