"""Rules without I/O: prices, counts, requests and answers."""
