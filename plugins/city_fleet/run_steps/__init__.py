"""What a city's run does once its jobs are over, for its own DAG's tasks and for a cohort's alike: without Airflow."""
