"""Stand-in of sleap-nn 0.3."""
