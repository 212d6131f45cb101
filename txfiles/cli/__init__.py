"""The shell's verbs: each one parses, makes one call into the library, and prints the result."""
