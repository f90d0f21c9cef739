"""What the dispatcher remembers of the last hour. It knows what is counted, and no dispatcher.

It runs in the dispatcher, and is lost with it.
"""
