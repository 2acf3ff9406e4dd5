"""Names of AWS that matter to nobody, but have to be well formed."""

from __future__ import annotations

IMAGE = "sagemaker-xgboost:3.2-0"
IMAGE_URI = f"683313688378.dkr.ecr.us-east-1.amazonaws.com/{IMAGE}"
ROLE = "arn:aws:iam::123456789012:role/city-fleet"
