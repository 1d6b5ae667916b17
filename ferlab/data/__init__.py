"""RAF-DB from files: layouts, archives, downloads, decoding."""
