"""Messages that say that a city's raw data have changed, and the runs they become."""
