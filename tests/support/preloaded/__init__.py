"""Engines forked from one process that has imported torch and diffusers: importing them takes six seconds of a core."""
