"""Airflow 3's REST API, version 2: what is asked of it, and the ways to it. Needs none of Airflow's own packages."""
