"""Every write of the training side. Keyword-only, typed, `by=` the actor, atomic, audited."""
