"""How good the pictures are: the judge, the measures, both modes compared, and the reports."""

PROCESSES = 2  # that make pictures side by side, by default
