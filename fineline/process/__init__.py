"""What every program of fineline says and obeys: errors with their exit codes, progress, trying again, the shell around it."""
