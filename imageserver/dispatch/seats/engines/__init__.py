"""One engine process of a seat: started, watched, asked and replaced. Process: dispatcher.

May import the configuration of seats and the signs of life; knows no seat.
"""
