"""Accounts, keys and caps."""
