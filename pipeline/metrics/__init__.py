"""How good a trained dictionary is: reconstruction, grounding, degeneracy and concept recovery."""
