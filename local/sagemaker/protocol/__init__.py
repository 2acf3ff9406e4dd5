"""The wire protocol: checks requests against botocore's model, knows the operations, writes results and errors."""
