"""The demo project's closed world: the town of Fernhill, its gold rule and its simulated labelers. Nobody imports
it."""
