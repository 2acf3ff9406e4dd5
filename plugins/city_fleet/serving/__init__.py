"""The shared endpoint, and predictions for applications."""
