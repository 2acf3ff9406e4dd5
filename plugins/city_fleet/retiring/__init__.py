"""What nothing needs any more goes, and cities that are taken out of service."""
