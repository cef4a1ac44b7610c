"""The parts of a run's page: for each what it shows (.py) and how (.html.j2)."""
