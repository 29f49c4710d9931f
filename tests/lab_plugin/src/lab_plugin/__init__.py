"""Tasks of a lab, one a file."""
