"""SageMaker jobs: their requests and attempts, waiting for them, why they failed, and stopping orphans."""
