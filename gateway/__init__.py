"""Slipway: a container registry whose heart is a fast blob gateway."""
