"""Training and processing jobs: their API, their states, and running them."""
