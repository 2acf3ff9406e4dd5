"""Which model serves a city: gate, registry, live pointer, publishing, and taking back."""
