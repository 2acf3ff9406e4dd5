"""Raw data into the bucket."""
