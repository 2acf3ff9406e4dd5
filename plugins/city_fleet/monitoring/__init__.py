"""Whether models that serve are still right: live errors, decay, inputs that have changed; docs/monitoring.md."""
