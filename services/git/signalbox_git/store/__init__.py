"""All SQL of the git service: functions over a transaction, or over a connection that reads."""
