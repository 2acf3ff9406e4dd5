"""The tests. Makes `python -m tests.…` find this folder: an installed distribution has one of the same name."""
