"""The servers that bench/serving.py measures, each in an environment of its own below ``.local/bench/serving``."""
