"""Which seats the settings ask for, and the cards that this machine has for them. Process: dispatcher.

May import the settings; knows no engine.
"""
