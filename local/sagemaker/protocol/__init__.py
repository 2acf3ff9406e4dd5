"""The wire: requests checked against botocore's model, operations registered, answers and errors written."""
