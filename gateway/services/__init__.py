"""What the registry does, free of HTTP, SQL and S3."""
