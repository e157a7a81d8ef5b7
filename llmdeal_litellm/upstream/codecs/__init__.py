"""One codec per wire."""
