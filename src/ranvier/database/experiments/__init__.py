"""What a session's recordings were made with."""
