"""How fast runs start, what watching over them costs, what they write, and how soon they are back after a kill."""
