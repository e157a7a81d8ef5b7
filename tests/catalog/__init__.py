"""config.yaml: what is accepted, what is refused and where it points."""
