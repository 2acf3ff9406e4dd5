"""What runs leave behind, folded into one index."""
