"""Public datasets out of what their publishers distribute, a module for each."""
