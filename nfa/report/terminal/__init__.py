"""What the `nfa` command prints: summaries, expansions and predictions."""
