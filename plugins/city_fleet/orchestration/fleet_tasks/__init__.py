"""The tasks of the DAGs that look after a whole fleet: endpoint, digest, reaper, reconcile, retire."""
