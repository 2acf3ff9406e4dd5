"""Who lets a model go live: asking a person, and carrying out what was decided."""
