"""Ray nodes: the head, a machine that offers engines, or one that only asks for them, each kept running.

Process: a node's keeper, started by the start scripts or by the server. May import the host's devices.
"""
