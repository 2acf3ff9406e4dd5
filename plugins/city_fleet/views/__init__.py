"""The state of a whole fleet, and what a night came to."""
