"""What makes a program a step: its command line and its parameters. Every `components/<step>` uses it."""
