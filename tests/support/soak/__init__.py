"""Traffic of days in half an hour, and what of a server may not grow under it.

A tenth of the generations warms the server up: its caches, stores and pools fill to their limits, which the settings of
a soak make small, as they make every time to live short. The rest may add nothing.
"""
