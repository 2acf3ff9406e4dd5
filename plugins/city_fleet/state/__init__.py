"""What is kept in S3 and in the model registry: the live pointer, versions, run records, the index, marks."""
