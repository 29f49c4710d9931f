"""The database: a Django project whose REST API real ONE and ibllib clients take for an Alyx."""
