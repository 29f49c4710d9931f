"""Moving in: rows of another database come here with their ids, from an Alyx or from the tables of a ONE cache."""
