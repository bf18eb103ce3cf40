"""What may befall a run, on real processes: `manage.py faults`, and the tests of what can be had in a moment."""
