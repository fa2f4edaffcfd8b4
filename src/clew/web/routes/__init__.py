"""HTTP routes: each reads a request and answers with a view of the workbench."""
