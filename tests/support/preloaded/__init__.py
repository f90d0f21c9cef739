"""Engines and ranks forked from a process that has imported torch and diffusers, which takes six seconds of a core."""
