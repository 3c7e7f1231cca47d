"""A trained Anchor in other runtimes."""
