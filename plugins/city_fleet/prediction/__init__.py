"""A prediction by the name of a city: live pointer, features, endpoint. What the Lambda function carries."""
