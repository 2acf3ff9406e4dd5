"""Who lets a model go live: the states of a registered model, asking a person, carrying out what was decided."""
