"""The comparison: our search, Optuna's and what a person would pick instead, at one budget."""
