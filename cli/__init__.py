"""What people type: the fineline command, one module per subcommand."""
