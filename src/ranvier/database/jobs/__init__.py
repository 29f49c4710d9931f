"""Tasks, attempts at them, and the events that set them off."""
