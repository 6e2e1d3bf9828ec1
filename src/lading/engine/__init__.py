"""How the parts of a reading are mapped: in threads of this process."""
