"""For agents: the verbs of a kit as tools of the Model Context Protocol. Needs the extra `mcp`."""
