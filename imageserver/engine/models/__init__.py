"""Models: found, loaded, made faster, measured, kept and unloaded. Process: engine. Only `__main__` is above it."""
