"""How good the pictures are: the judge, the measures, both modes compared, and the reports."""
