"""Everything Airflow runs: DAG builders, timetables, operators, triggers. The only package that imports Airflow."""
