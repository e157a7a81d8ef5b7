"""`llmdeal`: the operator's command."""
