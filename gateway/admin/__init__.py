"""The management API: what it takes and gives, one table of operations, and its binding to HTTP."""
