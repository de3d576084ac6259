"""Writing a cache shard by shard, through any crash."""
