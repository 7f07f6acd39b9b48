"""Retention rules in a file: what may stand in it, and the DAGs that come of it."""
