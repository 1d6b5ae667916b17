"""Drawn faces in RAF-DB's own layout."""
