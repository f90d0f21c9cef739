"""The GPU check: what the project does on a CUDA machine, measured in a quarter of an hour; see README.md."""
