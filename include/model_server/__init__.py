"""Serves thousands of models from one small process, by SageMaker's container contract.

Runs inside a container or in any other Python 3.11 or newer: it needs the standard library alone, uses numpy where a
model does, and uvloop and a C compiler where they are there. It knows neither City Fleet's library nor the local
SageMaker; what it asks of a user's ``inference.py`` is written in user_module.py.
"""
