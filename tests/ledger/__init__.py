"""Money: holds, records and the store that keeps them."""
