"""The near side of a seat: the process that stands for an engine on another machine, beside the dispatcher.

Process: stand-in, an engine process to the dispatcher. May import the host, whose actor it creates, and the nodes.
"""
