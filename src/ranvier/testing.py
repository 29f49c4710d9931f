"""Pytest plugin for authors of tasks."""
