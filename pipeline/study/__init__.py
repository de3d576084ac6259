"""The study: what is trained how often, and what its runs say together."""
