"""How the field measures: shot groups, metrics, thresholds, evaluation. Works on arrays, never on a network."""
