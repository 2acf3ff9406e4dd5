"""The fleet inside Airflow's own pages: read at a glance, decided about by whoever Airflow lets."""
