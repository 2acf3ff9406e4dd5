"""The tasks of a city's DAG, in the order of a run: jobs, decide, register, approve, publish, record."""
