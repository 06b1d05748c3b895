"""Who calls: Account, ApiKey, ExternalUser, and the authentication of a request."""
