"""Upload of raw data into the bucket."""
