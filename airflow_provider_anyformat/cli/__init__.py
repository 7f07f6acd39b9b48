"""The command ``anyformat-retention``: it reads listings, ledgers and rules, and deletes nothing."""
