"""The animals, and where they come from."""
