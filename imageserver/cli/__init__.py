"""The command line: a file for each command in `commands`, which the other packages here serve.

Process: the one that the user starts. May import everything but `engine`; only the entry imports it.
"""
