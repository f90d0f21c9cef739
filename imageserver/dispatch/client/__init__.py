"""The way to the dispatcher: its client, its start, its runtime directory.

Process: HTTP worker, and the command line. The only room of `dispatch` that runs there, so it knows no dispatcher.
"""
