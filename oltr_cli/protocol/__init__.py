"""How the field measures: shot groups, metrics, thresholds, evaluation. It sees arrays, never a network."""
