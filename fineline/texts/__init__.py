"""What texts are: when two are the same, in which script they are. The data steps, `fineline new`, and the gate."""
