"""``./fleet``: the command line of a fleet, one module per group of commands.

It knows neither Airflow nor pandas, and boto3 only where a command needs it, so that it starts at once.
``python -m city_fleet.cli.app`` runs it.

Exit codes: 0 done, 1 a mistake in what was given (fleet file, data, AWS), 2 wrong usage of the command line.
"""
