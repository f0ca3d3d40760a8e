"""The paper's Figures 3 to 8, drawn from finished runs.

``catalogue`` lists them, ``request`` finds the runs that one stands on, ``save`` writes it. Each figure has a module
with the runs it needs (``rows``), its numbers (``gather``) and its picture (``draw``), in this order: pictures draw
what they are handed, and the CSV beside them holds the same numbers.
"""
