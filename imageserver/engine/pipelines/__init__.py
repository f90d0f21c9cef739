"""Modules that know diffusers, each for one part of a pipeline call. Process: engine. May import only `downloads`."""
