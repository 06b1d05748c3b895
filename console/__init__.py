"""What every operators' page shares: the site, its base classes, acts and their log, safe text. It knows no other app."""
