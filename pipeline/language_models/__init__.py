"""Vision-language decoders: their states as activations, decoding that is held to the picture, and POPE questions."""
