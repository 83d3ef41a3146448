"""Sockets: bodies on their way in, content on its way out, and the server that accepts connections."""
