"""S3, SQS, IAM, STS and CloudWatch Logs: moto's, made durable and safe for conditional writes."""
