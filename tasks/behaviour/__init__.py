"""Built-in behaviour tasks, one task a file; discovered through the entry-point group ranvier.tasks."""
