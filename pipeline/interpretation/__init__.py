"""What each shared latent means: concepts matched with images, clustered, and named."""
