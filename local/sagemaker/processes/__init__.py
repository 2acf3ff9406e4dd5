"""Processes that stand for containers: started, isolated and supervised, with their files and logs."""
