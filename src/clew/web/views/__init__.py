"""Library values turned into views of the page."""
