"""COMPILE=1: what is compiled before clients come, where that is faster, and what is compiled after all.

Process: engine. The rest of `models` imports it, and it imports none of that.
"""
