"""Everything that crosses a process border: message types, framing, and the configuration that an engine starts with.

Every process imports it; it may import the vocabulary below it alone.
"""
