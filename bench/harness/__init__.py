"""What the benchmarks share: servers, clients, measuring, printing."""
