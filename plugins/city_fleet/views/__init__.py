"""The state of a whole fleet, the results of a night, and a preview of a run."""
