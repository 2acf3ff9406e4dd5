"""Processes that stand for containers: started, fenced in, watched, with their files and logs."""
