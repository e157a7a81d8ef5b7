"""config.yaml → Catalog."""
