"""The command `coleaf`."""
