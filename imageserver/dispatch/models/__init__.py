"""The models of all seats: downloaded, loaded and unloaded, for clients and for jobs. Process: dispatcher.

May import the seats and the job records.
"""
