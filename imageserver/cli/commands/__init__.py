"""The commands, a file each: their flags, and what they print. What takes long to import waits until it is needed."""
