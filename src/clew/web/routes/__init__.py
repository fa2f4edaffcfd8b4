"""HTTP routes: each reads a request and returns a view of the workbench."""
