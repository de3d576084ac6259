"""The files of a run: each is written whole or not at all, carries a checksum of itself, and says of what it is."""
