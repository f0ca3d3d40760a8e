"""The paper's Figures 3 to 8, drawn from finished runs.

``catalogue`` lists them, ``request`` finds the runs that one needs, ``save`` writes it. Each figure has a module with
the runs it needs (``rows``), its numbers (``gather``) and its picture (``draw``), in this order: the picture and the
CSV beside it show the same numbers.
"""
