"""How pictures look: style, lettering, contact sheets, the plots in a run's folder."""
