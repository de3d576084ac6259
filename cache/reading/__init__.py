"""Reading a finished cache in any order, every chunk checked."""
