"""What is made of an image before it guides a generation: its edges, or its negative.

Process: the HTTP workers, on native threads. May import numpy and Pillow.
"""
