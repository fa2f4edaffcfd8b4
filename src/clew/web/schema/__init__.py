"""Pydantic models of what the page sends and receives; the page's own types are generated from them."""
