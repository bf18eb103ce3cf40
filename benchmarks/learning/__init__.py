"""Whether learning learns: the loop over several seeds, and gold reward against the distance from the SFT model."""
