"""What two or more steps share. Light imports; imports neither kfp nor components."""

__version__ = "0.1.0"
