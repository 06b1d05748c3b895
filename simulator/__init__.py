"""An OpenAI-compatible stand-in for a model server. Every answer it gives says that it is simulated."""
