"""Studies: fixed tables of questions, each asked with the same searches and written to a page of the documentation."""
