"""Figures for papers: vector text, embedded fonts, the same bytes from the same inputs."""
