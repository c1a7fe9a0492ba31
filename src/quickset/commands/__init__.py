"""The work of each command, as functions that return values; the command line calls them."""
