"""The registry API: OCI distribution specification and Docker Registry HTTP API V2."""
