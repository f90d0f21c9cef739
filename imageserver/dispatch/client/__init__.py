"""The way to the dispatcher: its client, its start, its runtime directory.

Process: the HTTP workers and the command line. The only package of `dispatch` that runs there: it may import `protocol`
and everything below it, but nothing else of `dispatch`.
"""
