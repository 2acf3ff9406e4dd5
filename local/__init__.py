"""What runs on a laptop in the place of AWS and of an Airflow installation: the local SageMaker and the stack."""
