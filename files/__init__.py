"""File and its bytes: durable storage, uploads, downloads, reading of JSON lines."""
