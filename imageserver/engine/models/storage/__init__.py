"""The engine's part of the command `models`, as a process of its own: list, download or remove models."""
