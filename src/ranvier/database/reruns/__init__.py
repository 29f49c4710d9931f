"""Reruns: runs that were asked for of many sessions at once, and what became of them."""
