"""The command ``hybrid``. Starts everything and is imported by nothing; a command pays only for what it uses."""
