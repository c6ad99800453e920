"""Trials that a person's own script trains: the command, its answers, and how its processes end."""
