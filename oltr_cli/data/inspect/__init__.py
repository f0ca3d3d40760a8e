"""What a dataset holds and what is wrong with it, for oltr data check and oltr data info."""
