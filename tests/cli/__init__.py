"""The operator's command, run as a process."""
