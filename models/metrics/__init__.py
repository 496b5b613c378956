"""How well a prediction agrees with a truth that may be known in part."""
