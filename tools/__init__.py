"""What `./run` does, each command a module."""
