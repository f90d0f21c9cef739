"""The far side of a seat: the Ray actor on a machine that offers engines, with one engine process beside it.

Process: Ray actor. May import what travels between the machines; knows no node and no stand-in.
"""
