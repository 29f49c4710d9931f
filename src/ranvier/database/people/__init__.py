"""Users, labs, projects and places."""
