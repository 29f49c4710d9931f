"""Stand-in of Lightning Pose 2."""
