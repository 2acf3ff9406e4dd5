"""Faults that can be turned on to test clients: what goes wrong, where and how often."""
