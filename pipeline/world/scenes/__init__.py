"""The embedded world: picture-book scenes with captions, masks and ground-truth concepts, all drawn from a seed."""
