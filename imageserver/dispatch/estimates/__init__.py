"""Estimates of a generation's cost and wait, learnt from earlier generations. Process: dispatcher."""
