"""SageMaker jobs: requests, attempts, waiting, faults, the operators, and the reaper."""
