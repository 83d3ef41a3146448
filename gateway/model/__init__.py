"""Values of the registry: parsed at the edge, then passed on instead of naked strings. Pure, no I/O."""
