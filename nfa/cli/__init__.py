"""The `nfa` command: one file for each group of its verbs."""
