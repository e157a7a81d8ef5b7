"""How the gateway calls a model."""
