"""What `fineline new` does: looks at data, chooses, says why, and writes a project. Used by cli/new.py alone."""
