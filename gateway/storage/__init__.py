"""Where blobs lie: two implementations of ``ports.storage``, S3 and the local file system."""
