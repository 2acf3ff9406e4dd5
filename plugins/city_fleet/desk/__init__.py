"""A data scientist's desk: a city's job scripts on this machine, without Airflow and SageMaker.

What runs here are the very scripts, settings and rows of the jobs, so what comes of it is what a night would make.
"""
