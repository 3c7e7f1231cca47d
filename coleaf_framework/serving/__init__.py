"""A run as a web service on the local machine (extra `serve`)."""
