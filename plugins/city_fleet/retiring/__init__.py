"""Deleting models, runs and versions that nothing needs any more, and taking cities out of service."""
