"""The command line: options, help and exit codes. The work is in the package `commands`."""
