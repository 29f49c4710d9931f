"""What is done with subjects: sessions above all."""
