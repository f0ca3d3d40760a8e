"""How verdicts are written: rows and JSON, and the formats of other programs."""
