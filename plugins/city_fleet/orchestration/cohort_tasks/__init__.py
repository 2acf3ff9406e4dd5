"""The tasks of a cohort's DAG."""
