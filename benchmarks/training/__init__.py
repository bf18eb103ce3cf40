"""Training and generation, ours and the peer (TRL 1.12) in turn: speed, memory, share of the floor, how cost grows."""
