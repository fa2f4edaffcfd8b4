"""What is open in one server: kit, workspace, graphs, jobs."""
