"""Leaves that know diffusers, each for one matter of a pipeline call. Process: engine. May import `downloads` alone."""
