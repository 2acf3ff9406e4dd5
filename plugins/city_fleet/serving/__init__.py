"""The shared endpoint: its requests, and the sample rows of a city's model."""
