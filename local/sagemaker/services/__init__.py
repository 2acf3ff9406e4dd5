"""S3, IAM, STS and CloudWatch Logs: moto's, made durable and safe for conditional writes."""
