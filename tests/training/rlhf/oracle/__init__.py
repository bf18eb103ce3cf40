"""Oracles: the same losses written twice, once slowly in plain Python and once by others (TRL)."""
