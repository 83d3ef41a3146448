"""What the services need of the outside: contracts, implemented by ``storage`` and ``db``."""
