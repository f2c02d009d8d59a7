"""Nothing to run: exit 5."""
