"""Clients: the classes that users construct, and the state that a client keeps."""
