"""Users, sessions, projects and grants."""
