"""Modules that know diffusers, each for one part of a pipeline call; texts and decoding have rooms.

Process: engine. May import only `downloads`.
"""
