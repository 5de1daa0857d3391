"""All SQL of this service; whatever reads or writes resources says of which project."""
