"""How fast data comes in, is frozen and goes out, and what memory that takes, beside others on the same rows."""
