"""City Fleet: plans, orchestrates and publishes one model per city, served from one multi-model endpoint."""
