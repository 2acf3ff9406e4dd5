"""What a night will need before anybody has paid for one: jobs, instances, calls, wall time, cost. Pure."""
