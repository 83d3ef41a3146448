"""The console: pages for people, on top of the management API (docs/console.md)."""
