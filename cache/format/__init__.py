"""What a cache consists of: its arrays, tables and metadata, as docs/cache-format.md describes them."""
