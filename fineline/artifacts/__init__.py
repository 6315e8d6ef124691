"""Artifact folders with their manifests: every step writes one and reads those before it."""
