"""A prediction for a city: its live pointer, its features, the endpoint. The Lambda function carries this package."""
