"""What was measured: the runs that hold it, and the tables, claims and intervals made of it."""
