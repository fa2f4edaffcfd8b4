"""Pydantic models of what the page sends and receives."""
