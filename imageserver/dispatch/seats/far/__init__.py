"""The seats on other machines: opened and closed as machines come and go. Process: dispatcher.

May import the rest of `seats`.
"""
