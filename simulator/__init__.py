"""An OpenAI-compatible stand-in for a model server, which calls itself simulated in every answer."""
