"""A model that was trained elsewhere becomes a version of its city, judged and released as one of a run."""
