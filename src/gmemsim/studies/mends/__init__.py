"""What a candidate mend comes to: searches of the version with it and without it, one question a module."""
