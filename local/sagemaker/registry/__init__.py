"""Model package groups, model packages, tags, and Search."""
