"""What is there beside git at a remote: pull requests, by one interface, whoever serves them."""
